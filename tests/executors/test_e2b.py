"""The E2B executor shows every behaviour on the list, and what concerns sandboxes in a cloud besides."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors import create_executor
from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.conformance import ExecutorConformance, Host, Notebook, stored
from rlm_graph.executors.conformance.notebook import until
from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.executors.e2b.cloud import Cloud
from rlm_graph.executors.e2b.executor import Patience
from rlm_graph.settings import E2BSettings
from rlm_graph.state import ReplHandle
from tests.executors.e2b_double.sandbox import Sandbox
from tests.executors.e2b_double.server import KEY, E2BDouble

NAME = "00000000000000e2"


@pytest.fixture(scope="module")
def server() -> Iterator[E2BDouble]:
    with E2BDouble() as server:
        yield server


@pytest.fixture
def double(server: E2BDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[E2BDouble]:
    """The double, healthy, with its key in the environment. Afterwards no sandbox may be left."""
    monkeypatch.setenv("E2B_API_KEY", KEY)
    for seen in (server.requests, server.created, server.bodies):
        seen.clear()
    yield server
    server.heal()
    left = list(server.sandboxes)
    for sandbox_id in left:
        server.kill(sandbox_id)
    assert not left


@pytest.fixture
def settings(double: E2BDouble) -> E2BSettings:
    return E2BSettings(api_url=double.url, sandbox_url=double.url)


@pytest.fixture
def executor(settings: E2BSettings) -> E2BExecutor:
    return E2BExecutor(settings)


class TestE2BExecutor(ExecutorConformance):
    @pytest.fixture
    def executor(self, settings: E2BSettings) -> E2BExecutor:
        return E2BExecutor(settings)


@pytest.mark.live
class TestE2BExecutorInTheCloud(ExecutorConformance):
    @pytest.fixture
    def executor(self) -> E2BExecutor:
        return E2BExecutor()


class Patient:
    """A host whose answers wait until `ready`, and which tells when it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ready = asyncio.Event()

    async def __call__(self, call: HostCall) -> CallResult:
        self.asked.set()
        await self.ready.wait()
        return CallResult(value="answer")


ASK = "kept = 7\nprint(llm_query('p'))"


@contextlib.asynccontextmanager
async def asking(executor: E2BExecutor) -> AsyncIterator[tuple[Notebook, Patient, asyncio.Task[str]]]:
    """A REPL whose cell waits for an answer."""
    async with executor.attached(None) as repl:
        notebook, host = Notebook(repl), Patient()
        running = asyncio.create_task(notebook.printed(ASK, serve=host))
        try:
            await host.asked.wait()
            yield notebook, host, running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await executor.close(repl.handle)


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


def only(double: E2BDouble) -> Sandbox:
    (sandbox,) = double.sandboxes.values()
    return sandbox


# --- Before there is a sandbox -------------------------------------------------------------------------------------


async def test_without_a_key_the_error_names_the_variable(
    executor: E2BExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("E2B_API_KEY")

    with pytest.raises(SetupError, match="set E2B_API_KEY"):
        async with executor.attached(None):
            pass


async def test_without_the_sdk_the_error_names_the_extra(
    executor: E2BExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "e2b", None)

    with pytest.raises(SetupError, match=r"rlm-graph\[e2b\]"):
        async with executor.attached(None):
            pass


async def test_a_key_that_is_refused_is_not_repeated(executor: E2BExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2B_API_KEY", "e2b_another_secret")

    with pytest.raises(SetupError, match="E2B_API_KEY") as raised:
        async with executor.attached(None):
            pass

    assert "another_secret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(("template", "words"), [("nowhere", "not found"), ("bare", "python3: not here")])
async def test_a_template_that_does_not_serve_is_named(settings: E2BSettings, template: str, words: str) -> None:
    executor = E2BExecutor(settings.model_copy(update={"template": template}))

    with pytest.raises(SetupError, match=f"{template}.*{words}"):
        async with executor.attached(None):
            pass


@pytest.mark.parametrize(
    ("status", "words"), [(429, "wait a little"), (503, "wait a little"), (500, "cannot make a sandbox: 500")]
)
async def test_a_refusal_says_what_could_not_be_done(
    executor: E2BExecutor, double: E2BDouble, status: int, words: str
) -> None:
    double.fail("POST /v2/sandboxes", status)

    with pytest.raises(ExecutorError, match=words):
        async with executor.attached(None):
            pass


async def test_a_cloud_that_cannot_be_reached_is_an_error_that_says_so(
    executor: E2BExecutor, double: E2BDouble
) -> None:
    double.vanish()

    with pytest.raises(ExecutorError, match=r"cannot be reached.*look at the network"):
        async with executor.attached(None):
            pass


async def test_a_start_that_is_given_up_leaves_no_sandbox(executor: E2BExecutor, double: E2BDouble) -> None:
    async def attach() -> None:
        async with executor.attached(None):
            pass

    starting = asyncio.create_task(attach())
    await until(lambda: "POST /v2/sandboxes" in double.requests)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert not double.sandboxes


async def test_a_start_that_fails_half_way_leaves_no_sandbox(executor: E2BExecutor, double: E2BDouble) -> None:
    double.fail("POST /files", 507, "disk full")

    with pytest.raises(ExecutorError, match="disk full"):
        async with executor.attached(None):
            pass

    assert not double.sandboxes


def test_the_executor_is_chosen_by_its_name() -> None:
    assert isinstance(create_executor("e2b"), E2BExecutor)
    assert create_executor(E2BSettings()).declared == {}


# --- What goes into a sandbox --------------------------------------------------------------------------------------


async def test_a_sandbox_is_made_as_the_settings_say(double: E2BDouble, settings: E2BSettings) -> None:
    executor = E2BExecutor(settings.model_copy(update={"metadata": {"team": "red"}, "timeout_s": 1800}))

    async with executor.attached(None, name=NAME) as repl:
        pass
    await executor.close(repl.handle)

    (asked,) = double.created
    assert asked["templateID"] == "base"
    assert asked["timeout"] == 1800
    assert asked["autoPause"] is True
    assert asked["allow_internet_access"] is False
    assert asked["metadata"].items() >= {"team": "red", "rlm-graph": "1", "rlm-graph.repl": NAME}.items()
    assert not asked.get("envVars")


async def test_neither_key_nor_secrets_reach_a_process_a_handle_or_a_log(
    executor: E2BExecutor, double: E2BDouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async with executor.attached(None) as repl:
        notebook = Notebook(repl)
        seen = await notebook.run("import os\nsorted(os.environ)")
        environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in only(double).living()]
    await executor.close(repl.handle)

    assert len(environments) == 3, "supervisor, worker and relay"
    assert not any(b"SECRET" in each or KEY.encode() in each for each in environments)
    assert "SECRET" not in str(seen.value)
    assert not any(KEY.encode() in body for body in double.bodies)
    assert KEY not in repl.handle.model_dump_json() + caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the worker a user of its own")
async def test_supervisor_and_worker_have_different_users(executor: E2BExecutor, double: E2BDouble) -> None:
    async with executor.attached(None) as repl:
        users = [os.stat(f"/proc/{pid}").st_uid for pid in only(double).living()]
        worker = await Notebook(repl).run("import os\nos.getresuid()")
    await executor.close(repl.handle)

    assert sorted(user == 0 for user in users) == [False, True, True]
    assert str(max(users)) in str(worker.value)


async def test_a_context_is_sent_once_and_code_cannot_open_it(
    executor: E2BExecutor, double: E2BDouble, tmp_path: Path
) -> None:
    reference = stored(tmp_path / "context", "the text")

    async with executor.attached(None) as repl:
        for number in (1, 2):
            await repl.give(number, reference, folder=tmp_path / "context")
    async with executor.attached(repl.handle) as again:
        await again.give(3, reference, folder=tmp_path / "context")
        (there,) = (only(double).root / "tmp/rlm-graph/contexts").iterdir()
        opened = await Notebook(again).run(f"contexts == ['the text'] * 3 and open({str(there / 'text')!r})")
    await executor.close(repl.handle)

    assert double.requests.count("POST /files") == 3, "the bundle, the text and its index"
    assert opened.error is not None
    assert opened.error.type == "PermissionError"


async def test_shell_cells_run_where_they_are_allowed(settings: E2BSettings) -> None:
    executor = E2BExecutor(settings.model_copy(update={"bash": True}))

    async with executor.attached(None) as repl:
        execution = await Notebook(repl).run("echo $((6 * 7))", language="bash")
    await executor.close(repl.handle)

    assert execution.stdout == "42\n"


# --- A sandbox's time ----------------------------------------------------------------------------------------------


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


# --- What breaks ---------------------------------------------------------------------------------------------------


async def test_a_stream_that_breaks_is_replaced_and_no_relay_is_left(executor: E2BExecutor, double: E2BDouble) -> None:
    async with asking(executor) as (_, host, running):
        for _ in range(2):
            begun = double.requests.count("POST /process.Process/Start")
            double.cut()
            await until(lambda begun=begun: double.requests.count("POST /process.Process/Start") > begun)
        host.ready.set()

        assert await running == "answer\n"
        await until(lambda: len(only(double).living()) == 3)


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


# --- Which sandboxes are ours --------------------------------------------------------------------------------------


async def test_of_several_sandboxes_of_one_name_one_is_left(executor: E2BExecutor, double: E2BDouble) -> None:
    async def attach() -> ReplHandle:
        async with executor.attached(None, name=NAME) as repl:
            return repl.handle

    handles = await asyncio.gather(*(attach() for _ in range(3)))
    left = list(double.sandboxes)
    await executor.close(handles[0])

    assert left == [handles[0].address]
    assert len(set(handles)) == 1


async def test_a_sandbox_of_somebody_else_is_neither_used_nor_ended(
    executor: E2BExecutor, double: E2BDouble, settings: E2BSettings
) -> None:
    from e2b import AsyncSandbox

    theirs = await AsyncSandbox.create(api_url=double.url, sandbox_url=double.url, metadata={"rlm-graph.repl": NAME})
    handle = ReplHandle(kind="e2b", id=NAME, address=theirs.sandbox_id, worker_version="0" * 16)

    await executor.close(handle)
    async with executor.attached(handle, name=NAME) as repl:
        assert repl.handle.address != theirs.sandbox_id
    await executor.close(repl.handle)

    assert await AsyncSandbox.kill(theirs.sandbox_id, api_url=double.url)


async def test_sandboxes_are_listed_without_waking_them(executor: E2BExecutor, double: E2BDouble) -> None:
    async with executor.attached(None) as one, executor.attached(None) as other, executor.attached(None) as paused:
        double.pause(paused.handle.address)
        await other.detach()
        listed = {sandbox.handle.id: sandbox for sandbox in await executor.sandboxes()}
        still_paused = double.sandboxes[paused.handle.address].paused
    for repl in (one, other, paused):
        await executor.close(repl.handle)

    assert listed[one.handle.id].state == "attached"
    assert listed[other.handle.id].state == "idle"
    assert listed[paused.handle.id].state == "idle"
    assert listed[one.handle.id].handle == one.handle
    assert still_paused


async def test_what_a_sandbox_uses_is_told(executor: E2BExecutor, settings: E2BSettings) -> None:
    async with executor.attached(None) as repl:
        peak = await Cloud(settings).peak_memory(repl.handle.address, datetime.now(UTC) - timedelta(seconds=5))
    await executor.close(repl.handle)
    gone = await Cloud(settings).peak_memory(repl.handle.address, datetime.now(UTC))

    assert peak > 1 << 20
    assert gone == 0
