"""The host's end: streams that break, and supervisors that send nonsense."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.conformance import Host, Notebook
from rlm_graph.executors.conformance.notebook import until
from rlm_graph.executors.host.link import SupervisorLink
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.host.stream import PERSISTENCE, LinkLost, Persistence
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.state import ContextRef, ReplHandle

HANDLE = ReplHandle(kind="local", id="0" * 16, address="/nowhere", worker_version="v")
PONG: dict[str, Any] = {"ev": "pong", "version": "v", "failure": None, "generation": 1, "cells_done": 0, "past": []}
DONE: dict[str, Any] = {
    "ev": "done", "cell": 1, "generation": 1, "status": "ok", "stdout": "", "stdout_chars": 0, "stderr": "",
    "stderr_chars": 0, "value": None, "error": None, "final": None, "calls": 0, "digest": "", "started_at": 1.0,
    "cpu_s": 0.0, "wall_s": 0.0, "peak_memory_bytes": 0,
}  # fmt: skip
CALL = {"id": 1, "function": "llm_query", "arguments": {}, "nth": 0}

AT_ONCE = Persistence(pauses_s=(0.0, 0.0, 0.0))
"""Gives a stream up at the fourth break in a row."""

IMPATIENT = Persistence(silence_s=0.1)

Answer = Callable[[dict[str, Any]], list[bytes]]
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Carries bytes to a supervisor, and breaks off when it is told to."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.connections = 0
        self.opening = asyncio.Event()
        """Set when a stream is asked for, after the first."""
        self.instead: Connect | None = None
        """What opens the next stream in place of the proxy."""
        self.bad = False
        """Whether further streams break as soon as they are open."""
        self.lost = 0
        """How many more times there is no way at all."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a stream through the proxy."""
        if self.connections:
            self.opening.set()
        if self.instead is not None:
            connect, self.instead = self.instead, None
            return await connect()
        self.connections += 1
        if self.lost:
            self.lost -= 1
            raise LinkLost("no way there; look at the network")
        reader, writer = await asyncio.open_unix_connection(self.target)
        self._writers.append(writer)
        if self.bad:
            self.break_off()
        return reader, writer

    def break_off(self) -> None:
        """Break the streams that there are."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[tuple[Proxy, SupervisedRepl]]:
    executor = LocalExecutor(folder=tmp_path)
    async with executor.attached(None) as started:
        handle = started.handle
    proxy = Proxy(f"{handle.address}/control.sock")
    repl = SupervisedRepl(handle, proxy.connect, persistence=AT_ONCE)
    await repl.attach()
    yield proxy, repl
    await repl.detach()
    await executor.close(handle)


@pytest.fixture
async def liar(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[SupervisedRepl]]]:
    """Starts a supervisor that answers each request after the first ping with the bytes it is told to."""
    servers: list[asyncio.Server] = []
    repls: list[SupervisedRepl] = []

    async def start(answer: Answer, persistence: Persistence = PERSISTENCE) -> SupervisedRepl:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            greeted = False
            while line := await reader.readline():
                request = json.loads(line)
                told = answer(request) if greeted else [frame({**PONG, "re": request["re"]})]
                greeted = True
                for piece in told:
                    writer.write(piece)
            writer.close()

        path = str(tmp_path / f"{len(servers)}.sock")
        servers.append(await asyncio.start_unix_server(serve, path))
        repl = SupervisedRepl(HANDLE, lambda: asyncio.open_unix_connection(path), persistence=persistence)
        repls.append(repl)
        await repl.attach()
        return repl

    yield start
    for repl in repls:
        await repl.detach()
    for server in servers:
        server.close()
        await server.wait_closed()


def frame(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"


class TestStreams:
    async def test_a_stream_that_breaks_in_a_cell_is_opened_again_and_nothing_is_asked_twice(
        self, proxy: tuple[Proxy, SupervisedRepl]
    ) -> None:
        way, repl = proxy
        asked: list[object] = []

        async def serve(call: HostCall) -> CallResult:
            asked.append(call.arguments["prompt"])
            way.break_off()
            return CallResult(value=f"{call.arguments['prompt']}!")

        execution = await Notebook(repl).run("print(llm_query('a'), llm_query('b'))", serve=serve)

        assert execution.stdout == "a! b!\n"
        assert asked == ["a", "b"]
        assert way.connections == 3

    async def test_a_stream_that_breaks_between_cells_is_opened_again(
        self, proxy: tuple[Proxy, SupervisedRepl]
    ) -> None:
        way, repl = proxy
        notebook = Notebook(repl)
        await notebook.run("x = 1")
        way.break_off()
        listed = await repl.variables()
        way.break_off()

        assert [variable.name for variable in listed] == ["x"]
        assert (await notebook.run("x")).value == "1"

    async def test_a_repl_is_as_it_was_left_until_it_is_used_by_another_or_out_of_reach(
        self, proxy: tuple[Proxy, SupervisedRepl]
    ) -> None:
        way, repl = proxy
        assert not await repl.is_as_left()  # whether its contexts are still there, nobody could tell
        await Notebook(repl).run("x = 1")
        assert await repl.is_as_left()

        another = SupervisorLink(way.connect)
        await another.open()
        await another.request({"op": "ping", "host": {"name": "another machine", "pid": 1, "started": "1"}})
        await another.close()
        assert not await repl.is_as_left()

        await repl.attach()
        assert await repl.is_as_left()
        way.break_off()
        way.lost = 9
        assert not await repl.is_as_left()

    async def test_a_context_is_given_once_however_often_it_is_offered(
        self, liar: Callable[..., Awaitable[SupervisedRepl]]
    ) -> None:
        given: list[object] = []

        def answer(request: dict[str, Any]) -> list[bytes]:
            given.append((request["op"], request["number"], request["folder"]))
            return [frame({"ev": "reply", "re": request["re"]})]

        repl = await liar(answer)
        ref = ContextRef(sha256="0" * 64, kind="str", chars=3, bytes=3)
        for _ in range(3):
            await repl.add_context(1, ref, folder=Path("/one"))
            await repl.add_context(2, ref, folder=Path("/other"))

        assert given == [("context", 1, "/one"), ("context", 2, "/other")]

    async def test_an_answer_that_comes_while_the_stream_is_opened_again_arrives(
        self, proxy: tuple[Proxy, SupervisedRepl]
    ) -> None:
        way, repl = proxy
        answered = asyncio.Event()

        async def connect_late() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            await answered.wait()
            await asyncio.sleep(0)  # the answer is being sent now
            return await way.connect()

        async def serve(call: HostCall) -> CallResult:
            way.break_off()
            await way.opening.wait()
            answered.set()
            return CallResult(value="late")

        way.instead = connect_late
        execution = await Notebook(repl).run("print(llm_query('p'))", serve=serve)

        assert execution.stdout == "late\n"

    async def test_a_stream_that_always_breaks_is_an_error(self, proxy: tuple[Proxy, SupervisedRepl]) -> None:
        way, repl = proxy

        async def serve(call: HostCall) -> CallResult:
            way.bad = True
            way.break_off()
            return CallResult(value="never told")

        with pytest.raises(ExecutorError, match=r"cannot be reached.*resume the run"):
            await Notebook(repl).run("llm_query('a')", serve=serve)
        assert way.connections == 1 + len(AT_ONCE.pauses_s)

    async def test_a_cell_that_gets_on_outlasts_any_number_of_breaks(self, proxy: tuple[Proxy, SupervisedRepl]) -> None:
        way, repl = proxy
        asked: list[object] = []

        async def serve(call: HostCall) -> CallResult:
            asked.append(call.arguments["prompt"])
            way.break_off()
            return CallResult(value=f"{call.arguments['prompt']}!")

        execution = await Notebook(repl).run("[llm_query(str(n)) for n in range(20)][-1]", serve=serve)

        assert execution.value == "'19!'"
        assert asked == [str(number) for number in range(20)]
        assert way.connections == 21

    async def test_a_stream_that_held_for_long_may_break_as_if_for_the_first_time(
        self, proxy: tuple[Proxy, SupervisedRepl]
    ) -> None:
        way, _ = proxy
        repl = SupervisedRepl(proxy[1].handle, way.connect, persistence=AT_ONCE._replace(steady_s=0.0))
        await repl.attach()

        async def serve(call: HostCall) -> CallResult:
            for breaks in range(10):
                await until(lambda: way.connections == 2 + breaks)  # noqa: B023  # it is waited for here
                way.break_off()
            return CallResult(value="answered")

        execution = await Notebook(repl).run("llm_query('p')", serve=serve)
        await repl.detach()

        assert execution.value == "'answered'"

    async def test_a_way_that_is_lost_for_a_moment_is_tried_again(self, proxy: tuple[Proxy, SupervisedRepl]) -> None:
        way, repl = proxy

        async def serve(call: HostCall) -> CallResult:
            way.lost = 2
            way.break_off()
            return CallResult(value="told")

        assert (await Notebook(repl).run("llm_query('p')", serve=serve)).value == "'told'"

    async def test_a_way_that_stays_lost_is_an_error_that_says_why(self, proxy: tuple[Proxy, SupervisedRepl]) -> None:
        way, repl = proxy

        async def serve(call: HostCall) -> CallResult:
            way.lost = 100
            way.break_off()
            return CallResult(value="never told")

        with pytest.raises(LinkLost, match="look at the network"):
            await Notebook(repl).run("llm_query('p')", serve=serve)

    async def test_a_cancel_that_comes_with_the_reply_is_not_lost(self, proxy: tuple[Proxy, SupervisedRepl]) -> None:
        way, attached = proxy
        asking: asyncio.Task[object] | None = None

        class Cancelling:
            """Has the task cancelled in the step in which its reply is read."""

            def __init__(self, reader: asyncio.StreamReader) -> None:
                self._reader = reader

            async def read(self, n: int) -> bytes:
                data = await self._reader.read(n)
                if asking is not None:
                    asyncio.get_running_loop().call_soon(asking.cancel)
                return data

        async def connect() -> tuple[Cancelling, asyncio.StreamWriter]:
            reader, writer = await way.connect()
            return Cancelling(reader), writer

        repl = SupervisedRepl(attached.handle, connect)
        await repl.attach()
        asking = asyncio.create_task(repl.variables())
        with pytest.raises(asyncio.CancelledError):
            await asking
        asking = None
        await repl.detach()

    async def test_two_hosts_may_follow_one_cell(self, proxy: tuple[Proxy, SupervisedRepl]) -> None:
        way, repl = proxy
        other = SupervisedRepl(repl.handle, way.connect)
        await other.attach()
        one, two = Host(lambda call: "one"), Host(lambda call: "two")

        first, second = await asyncio.gather(
            Notebook(repl).run("print(llm_query('p'))", serve=one),
            Notebook(other).run("print(llm_query('p'))", serve=two),
        )
        await other.detach()

        assert first == second
        assert first.stdout in ("one\n", "two\n")

    async def test_a_detached_repl_says_so(self, proxy: tuple[Proxy, SupervisedRepl]) -> None:
        _, repl = proxy
        await repl.detach()

        with pytest.raises(ExecutorError, match="not attached"):
            await repl.variables()


class TestSilence:
    """A supervisor that tells nothing of a cell, whatever became of it, keeps no host waiting."""

    async def test_a_supervisor_that_tells_nothing_is_asked_again_and_given_up(
        self, liar: Callable[..., Awaitable[SupervisedRepl]]
    ) -> None:
        asked: list[object] = []

        def silent(request: dict[str, Any]) -> list[bytes]:
            asked.append(request["op"])
            return []

        repl = await liar(silent, IMPATIENT)

        with pytest.raises(ExecutorError, match="tells nothing of cell 1"):
            await Notebook(repl).run("x", timeout_s=0.01)
        assert asked == ["exec"] * 2

    async def test_an_end_that_was_not_told_is_told_when_it_is_asked_for(
        self, liar: Callable[..., Awaitable[SupervisedRepl]]
    ) -> None:
        asked: list[object] = []

        def late(request: dict[str, Any]) -> list[bytes]:
            asked.append(request["op"])
            return [frame(DONE)] if len(asked) == 2 else []

        repl = await liar(late, IMPATIENT)

        assert (await Notebook(repl).run("x", timeout_s=0.01)).status == "ok"

    async def test_a_call_may_take_longer_than_a_cell_may_say_nothing(
        self, liar: Callable[..., Awaitable[SupervisedRepl]]
    ) -> None:
        asked: list[object] = []

        def calling(request: dict[str, Any]) -> list[bytes]:
            asked.append(request["op"])
            if request["op"] == "exec":
                return [frame({"ev": "calls", "cell": 1, "calls": [CALL]})]
            return [frame(DONE)]

        async def serve(call: HostCall) -> CallResult:
            await asyncio.sleep(0.3)  # longer than the patience of this REPL
            return CallResult(value="late")

        repl = await liar(calling, IMPATIENT)

        assert (await Notebook(repl).run("x", serve=serve, timeout_s=0.01)).status == "ok"
        assert asked == ["exec", "resume"]


class TestNonsense:
    """Whatever comes from a sandbox: an `ExecutorError`, and no other exception, no hang, no harm."""

    @pytest.mark.parametrize(
        "told",
        [
            b"no json\n",
            b"[1, 2]\n",
            b"\xff\xfe\n",
            b'{"ev": "calls", "cell": 1, "calls": NaN}\n',
            b'{"ev": "calls", "cell": 1, "calls": ' + b"9" * 5000 + b"}\n",
            b"[" * 100_000 + b"\n",
            frame({"ev": "unheard of"}),
            frame({"re": 99, "ev": "pong"}),
            frame({"re": -1, "ev": "reply"}),
            frame({"ev": "error", "message": "no"}),
            frame({**DONE, "status": "wonderful"}),
            frame({**DONE, "stdout": 5}),
            frame({**DONE, "stdout_chars": -1}),
            frame({**DONE, "final": {"value": 1, "via": "magic"}}),
            frame({**DONE, "digest": "x" * 1000}),
            frame({"ev": "calls", "cell": 1, "calls": [{**CALL, "id": "1"}]}),
            frame({"ev": "calls", "cell": 1, "calls": [{**CALL, "id": 0}]}),
            frame({"ev": "calls", "cell": 1, "calls": [{**CALL, "arguments": []}]}),
            frame({"ev": "calls", "cell": 1, "calls": [{**CALL, "function": "f" * 1000}]}),
            frame({"ev": "calls", "cell": 1, "calls": [{**CALL, "nth": 1.5}]}),
        ],
        ids=range(20),
    )
    async def test_a_frame_that_is_none_is_an_error_of_the_executor(
        self, liar: Callable[[Answer], Awaitable[SupervisedRepl]], told: bytes
    ) -> None:
        repl = await liar(lambda request: [told])

        with pytest.raises(ExecutorError):
            await Notebook(repl).run("1")

    async def test_calls_of_another_cell_and_repeated_ids_are_not_served(
        self, liar: Callable[[Answer], Awaitable[SupervisedRepl]]
    ) -> None:
        host = Host(lambda call: "answered")
        calls = {"ev": "calls", "cell": 1, "calls": [CALL, CALL]}
        repl = await liar(
            lambda request: (
                [frame({**calls, "cell": 7}), frame(calls), frame({**DONE, "cell": 7})]
                if request["op"] == "exec"
                else [frame(DONE)]
            )
        )

        execution = await Notebook(repl).run("1", serve=host)

        assert execution.status == "ok"
        assert len(host.calls) == 1

    async def test_what_nobody_waits_for_any_more_is_passed_over(
        self, liar: Callable[[Answer], Awaitable[SupervisedRepl]]
    ) -> None:
        late = [{"re": 1, "ev": "reply"}, {"re": 1, "ev": "error", "message": "late"}]
        repl = await liar(lambda request: [*map(frame, late), frame(DONE)])

        assert (await Notebook(repl).run("1")).status == "ok"

    async def test_a_function_that_is_not_on_the_list_is_not_served(
        self, liar: Callable[[Answer], Awaitable[SupervisedRepl]]
    ) -> None:
        host = Host(lambda call: "answered")
        resumed: list[dict[str, Any]] = []
        calls = {"ev": "calls", "cell": 1, "calls": [{**CALL, "function": "os.system"}]}

        def answer(request: dict[str, Any]) -> list[bytes]:
            if request["op"] == "exec":
                return [frame(calls)]
            resumed.append(request)
            return [frame(DONE)]

        repl = await liar(answer)
        await Notebook(repl).run("1", serve=host)

        assert host.calls == []
        assert resumed[0]["results"][0]["error_type"] == "NameError"

    @pytest.mark.parametrize("told", [{"variables": None}, {"variables": [{"name": 5}]}, {"variables": "x"}, {}])
    async def test_variables_that_are_none_are_an_error_of_the_executor(
        self, liar: Callable[[Answer], Awaitable[SupervisedRepl]], told: dict[str, Any]
    ) -> None:
        repl = await liar(lambda request: [frame({"ev": "reply", "re": request["re"], **told})])

        with pytest.raises(ExecutorError, match="nonsense"):
            await repl.variables()

    async def test_a_supervisor_of_another_version_is_refused(self, tmp_path: Path) -> None:
        executor = LocalExecutor(folder=tmp_path)
        async with executor.attached(None) as repl:
            handle = repl.handle
        other = handle.model_copy(update={"worker_version": "0"})
        stranger = SupervisedRepl(other, lambda: asyncio.open_unix_connection(f"{handle.address}/control.sock"))

        with pytest.raises(ExecutorError, match="version"):
            await stranger.attach()
        await stranger.detach()
        await executor.close(handle)
