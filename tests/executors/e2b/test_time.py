"""A sandbox's time: it is paused or ended for want of a host, and woken by the next."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from rlm_graph.executors.conformance import Notebook
from rlm_graph.executors.conformance.notebook import until
from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.settings import E2BSettings
from tests.executors.e2b.conftest import asking, only
from tests.executors.e2b_double.server import E2BDouble


async def test_a_sandbox_is_given_less_time_when_its_host_leaves(executor: E2BExecutor, double: E2BDouble) -> None:
    def left_s() -> float:
        return (only(double).end_at - datetime.now(UTC)).total_seconds()

    async with executor.attached(None) as repl:
        with_host = left_s()
    without = left_s()
    async with executor.attached(repl.handle):
        again = left_s()
    await executor.close(repl.handle)

    assert with_host > 3000
    assert without <= 300
    assert again > 3000


async def test_a_sandbox_that_was_paused_for_want_of_a_host_is_woken(double: E2BDouble, settings: E2BSettings) -> None:
    executor = E2BExecutor(settings.model_copy(update={"idle_timeout_s": 1}))

    async with executor.attached(None) as repl:
        await Notebook(repl).run("x = 41")
    await until(lambda: only(double).paused)
    async with executor.attached(repl.handle) as again:
        found = await Notebook(again).run("x + 1")
    await executor.close(repl.handle)

    assert found.value == "42"
    assert again.handle == repl.handle


async def test_without_pausing_a_sandbox_ends_and_the_next_host_gets_another(
    double: E2BDouble, settings: E2BSettings
) -> None:
    executor = E2BExecutor(settings.model_copy(update={"idle_timeout_s": 1, "pause": False}))

    async with executor.attached(None) as repl:
        await Notebook(repl).run("x = 41")
    await until(lambda: not double.sandboxes)
    async with executor.attached(repl.handle) as fresh:
        assert fresh.cells_done == 0
    await executor.close(fresh.handle)

    assert fresh.handle.address != repl.handle.address


async def test_a_sandbox_that_is_paused_under_a_cell_is_woken_and_the_cell_goes_on(
    executor: E2BExecutor, double: E2BDouble
) -> None:
    async with asking(executor) as (notebook, host, running):
        double.pause(notebook.repl.handle.address)
        await until(lambda: not only(double).paused)
        host.ready.set()

        assert await running == "answer\n"
        assert (await notebook.run("kept")).value == "7"
        assert only(double).paused_times == 1


async def test_a_sandbox_that_is_paused_while_a_cell_computes_is_woken_and_the_cell_goes_on(
    executor: E2BExecutor, double: E2BDouble
) -> None:
    code = "import os, time\nopen('begun', 'w').close()\nwhile not os.path.exists('go on'): time.sleep(0.01)\n'done'"
    async with executor.attached(None) as repl:
        running = asyncio.create_task(Notebook(repl).run(code))
        scratch = only(double).root / "tmp/rlm-graph/scratch"
        await until((scratch / "begun").exists)
        double.pause(repl.handle.address)
        await until(lambda: not only(double).paused)
        (scratch / "go on").touch()
        execution = await running
    await executor.close(repl.handle)

    assert execution.value == "'done'"
