"""What breaks: streams, networks, sandboxes; and what comes of the cell that runs there."""

from __future__ import annotations

import asyncio
import sys

import pytest

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import HostCall
from rlm_graph.executors.conformance import Host, Notebook
from rlm_graph.executors.conformance.notebook import until
from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.executors.e2b.executor import Patience
from rlm_graph.settings import E2BSettings
from rlm_graph.state import ReplHandle
from tests.executors.e2b.conftest import ASK, Patient, asking, only
from tests.executors.e2b_double.server import E2BDouble

HOST_THAT_STAYS = """
import asyncio, sys
from rlm_graph.executors.e2b.executor import E2BExecutor, Patience
from rlm_graph.settings import E2BSettings

async def main():
    executor = E2BExecutor(E2BSettings(api_url=sys.argv[1], sandbox_url=sys.argv[1]), patience=Patience(gone_s=0.5))
    async with executor.attached(None) as repl:
        print(repl.handle.model_dump_json(), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def spoke_again(requests: list[str]) -> bool:
    """Whether a relay was started, and then written to."""
    start, write = "POST /process.Process/Start", "POST /process.Process/SendInput"
    return start in requests and write in requests[requests.index(start) :]


async def test_a_stream_that_breaks_is_replaced_and_no_relay_is_left(executor: E2BExecutor, double: E2BDouble) -> None:
    async with asking(executor) as (_, host, running):
        for _ in range(2):
            before = len(double.requests)
            double.cut()
            await until(lambda before=before: spoke_again(double.requests[before:]))
        host.ready.set()

        assert await running == "answer\n"
        await until(lambda: len(only(double).living()) == 3)


async def test_a_cell_that_gets_on_outlasts_any_number_of_breaks(executor: E2BExecutor, double: E2BDouble) -> None:
    asked: list[object] = []

    def reply(call: HostCall) -> str:
        asked.append(call.arguments["prompt"])
        double.cut()
        return f"{call.arguments['prompt']}!"

    async with executor.attached(None) as repl:
        told = await Notebook(repl).run("[llm_query(str(n)) for n in range(8)][-1]", serve=Host(reply))
    await executor.close(repl.handle)

    assert told.value == "'7!'"
    assert asked == [str(number) for number in range(8)]


async def test_a_relay_whose_host_died_ends_and_the_repl_is_an_orphan(double: E2BDouble, settings: E2BSettings) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST_THAT_STAYS, double.url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout is not None
    handle = ReplHandle.model_validate_json(await host.stdout.readline())
    host.kill()
    await host.wait()
    executor = E2BExecutor(settings)
    await until(lambda: len(only(double).living()) == 2)
    (found,) = await executor.sandboxes()
    await executor.close(handle)

    assert found.state == "orphaned"


async def test_a_stream_that_falls_silent_is_noticed_and_replaced(double: E2BDouble, settings: E2BSettings) -> None:
    async with asking(E2BExecutor(settings, patience=Patience(0.1, 1.0))) as (_, host, running):
        double.fall_silent()
        host.ready.set()

        assert await running == "answer\n"


async def test_a_quiet_stream_that_is_whole_is_kept(double: E2BDouble, settings: E2BSettings) -> None:
    async with asking(E2BExecutor(settings, patience=Patience(0.05, 60.0))) as (_, host, running):
        sent = double.requests.count("POST /process.Process/SendInput")
        await until(lambda: double.requests.count("POST /process.Process/SendInput") >= sent + 3)
        host.ready.set()

        assert await running == "answer\n"
        # One for the folders, one for the supervisor, one for the relay.
        assert double.requests.count("POST /process.Process/Start") == 3


async def test_a_network_that_is_gone_ends_the_wait_and_the_cell_is_joined_later(
    executor: E2BExecutor, double: E2BDouble
) -> None:
    async with executor.attached(None) as repl:
        host = Patient()
        running = asyncio.create_task(Notebook(repl).printed(ASK, serve=host))
        await host.asked.wait()
        double.vanish()
        with pytest.raises(ExecutorError, match="look at the network, then resume the run"):
            await running
    double.heal()
    async with executor.attached(repl.handle) as again:
        joined = await Notebook(again).run(ASK, serve=Host(lambda call: "later"), number=1)
    await executor.close(repl.handle)

    assert joined.stdout == "later\n"


async def test_a_sandbox_that_is_gone_under_a_cell_is_an_error_and_is_replaced(
    executor: E2BExecutor, double: E2BDouble
) -> None:
    async with executor.attached(None) as repl:
        host = Patient()
        running = asyncio.create_task(Notebook(repl).printed(ASK, serve=host))
        await host.asked.wait()
        double.kill(repl.handle.address)
        with pytest.raises(ExecutorError, match="gone"):
            await running
    async with executor.attached(repl.handle) as fresh:
        assert fresh.cells_done == 0
    await executor.close(fresh.handle)


async def test_a_sandbox_whose_supervisor_is_gone_is_replaced(executor: E2BExecutor, double: E2BDouble) -> None:
    async with executor.attached(None) as repl:
        pass
    first = only(double)
    for file in (first.root / "tmp/rlm-graph").glob("*.pyz"):
        file.unlink()  # as in a sandbox that somebody emptied: the relay ends at once
    async with executor.attached(repl.handle) as fresh:
        assert fresh.handle.address != repl.handle.address
    await executor.close(fresh.handle)

    assert first.id not in double.sandboxes


async def test_a_refusal_that_passes_costs_no_repl(executor: E2BExecutor, double: E2BDouble) -> None:
    async with executor.attached(None) as repl:
        await Notebook(repl).run("x = 41")
    double.fail("POST /v2/sandboxes/", 429)
    with pytest.raises(ExecutorError, match="resume"):
        async with executor.attached(repl.handle):
            pass
    async with executor.attached(repl.handle) as again:
        found = await Notebook(again).run("x")
    await executor.close(repl.handle)

    assert found.value == "41"
