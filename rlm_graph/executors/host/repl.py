"""The host's end of a REPL: frames to and from a supervisor, over any stream. Every frame is untrusted."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import PastCell, Serve
from rlm_graph.executors.host.process import this_host
from rlm_graph.executors.host.reports import Calls, Done, Pong, Snapshot, Variables, read
from rlm_graph.executors.host.service import Service
from rlm_graph.executors.host.stream import PERSISTENCE, Connect, LinkLost, Persistence, Reader, Writer
from rlm_graph.executors.sandbox.frames import MAX_VALUE, Frame, FrameError, Splitter, encode
from rlm_graph.state import Cell, ContextRef, Execution, ReplHandle, Variable

BUILT_IN = frozenset({
    "llm_query", "llm_query_batched", "rlm_query", "rlm_query_batched",
    "rlm_remember", "rlm_recall", "rlm_forget", "rlm_notes",
})  # fmt: skip
"""Host functions that every REPL has. What else code calls must be one of its tools."""

REPLY_TIMEOUT_S = 30.0
"""Seconds that a supervisor, which never blocks, has to answer."""
CONTEXT_TIMEOUT_S = 600.0
"""Seconds that a worker has to take in a context."""
SNAPSHOT_TIMEOUT_S = 120.0
"""Seconds that a worker has to take a snapshot, or to read one."""
MAX_SNAPSHOT = MAX_VALUE // 4 * 3
"""Bytes, of which base64 makes what one frame can carry."""
RECEIVE_BYTES = 1 << 20


class ContextMissing(ExecutorError):
    """There is no context where the supervisor was told to look."""


class SupervisedRepl:
    """A `Repl` whose supervisor speaks frames.

    If the stream breaks while a cell runs, it is opened again and the cell joined: calls that were answered keep
    their answers, and those that were not come again. That goes on for as long as the cell gets on, however often the
    stream breaks; it is given up after some attempts in a row that nothing came of.
    """

    def __init__(
        self,
        handle: ReplHandle,
        connect: Connect,
        *,
        tools: Sequence[str] = (),
        locate: Callable[[Path], str] = str,
        persistence: Persistence = PERSISTENCE,
    ) -> None:
        """`locate` says where a folder of the host lies for the supervisor."""
        self._handle = handle
        self._connect = connect
        self._tools = tuple(tools)
        self._locate = locate
        self._persistence = persistence
        self._allowed = BUILT_IN | {tool.partition("(")[0] for tool in tools}
        self._asked = 0
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._events: asyncio.Queue[Frame | BaseException] = asyncio.Queue()
        self._running = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._writer: Writer | None = None
        self._reading: asyncio.Task[None] | None = None
        self._end: Exception | None = None
        """Why the stream is of no use any more."""
        self._held_s = 0.0
        """How long the last stream held that broke."""
        self._cells_done = 0
        self._past: list[PastCell] = []

    @property
    def handle(self) -> ReplHandle:
        """Its name, to be stored."""
        return self._handle

    @property
    def cells_done(self) -> int:
        """The number of the last cell that this namespace holds the effects of; 0 if it is fresh."""
        return self._cells_done

    @property
    def past(self) -> Sequence[PastCell]:
        """The cells that this namespace held the effects of when it was attached to, and the one that ran then."""
        return self._past

    async def attach(self) -> None:
        """Connect, and learn where the REPL is.

        Raises `OSError` if nobody listens, `ExecutorError` if the supervisor is of another version or has no worker.
        """
        await self._open()
        pong = read(Pong, await self._request({"op": "ping", "host": this_host()}))
        if pong.version != self._handle.worker_version:
            raise ExecutorError(
                f"the REPL runs version {pong.version} of the worker, not {self._handle.worker_version}"
            )
        if pong.failure is not None:
            raise ExecutorError(pong.failure)
        self._cells_done = pong.cells_done
        self._past = [PastCell(cell.number, cell.branch) for cell in pong.past]
        if self._tools:
            await self._request({"op": "tools", "tools": list(self._tools)})

    async def detach(self) -> None:
        """Close the stream for good. The REPL lives on."""
        await self._drop()
        self._end = None

    async def _drop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._hang_up()

    async def run(
        self,
        cell: Cell,
        *,
        number: int,
        serve: Serve,
        timeout_s: float,
        started_at: float | None = None,
        branch: str = "",
    ) -> Execution:
        """See `Repl.run`. An exception of `serve` ends the wait for the cell and leaves; the cell itself goes on."""
        async with self._running:
            self._events = asyncio.Queue()
            if self._end is not None:
                self._events.put_nowait(self._end)
            request = {
                "op": "exec", "re": self._next_number(), "cell": number, "code": cell.code,
                "branch": branch, "language": cell.language, "timeout": timeout_s, "started_at": started_at,
                "seed": _seed(number, cell),
            }  # fmt: skip
            service = Service(number, self._allowed, serve, send=self._send, failed=self._events.put_nowait)
            try:
                done = await self._until_done(request, service)
            finally:
                await service.cancel()
        self._cells_done = 0 if done.status == "killed" else number
        kept = done.model_dump(exclude={"cell", "error", "final"})
        return Execution(
            number=number, code=cell.code, language=cell.language, error=done.error, final=done.final, **kept
        )

    async def add_context(self, number: int, context: ContextRef, *, folder: Path) -> None:
        """See `Repl.add_context`."""
        await self.add_context_from(number, self._locate(folder))

    async def add_context_from(self, number: int, folder: str) -> None:
        """Give a context that lies in a folder of the supervisor's. Raises `ContextMissing` if it is not there."""
        request = {"op": "context", "number": number, "folder": folder}
        await self._request(request, timeout_s=CONTEXT_TIMEOUT_S)

    async def look(self) -> Frame:
        """Return how the REPL is, without using it: `host`, `idle_s` (None while one is attached), `cell`.

        For those who have not attached. Raises `OSError` if nobody listens.
        """
        await self._open()
        return await self._request({"op": "look"})

    async def variables(self) -> Sequence[Variable]:
        """List the names that cells have bound."""
        return read(Variables, await self._request({"op": "vars"})).variables

    async def snapshot(self, max_bytes: int) -> bytes | None:
        """See `Repl.snapshot`."""
        request: Frame = {"op": "snapshot", "max_bytes": min(max_bytes, MAX_SNAPSHOT)}
        told = read(Snapshot, await self._request(request, timeout_s=SNAPSHOT_TIMEOUT_S))
        if told.snapshot is None:
            return None
        try:
            return base64.b64decode(told.snapshot, validate=True)
        except ValueError as error:
            raise ExecutorError(f"the sandbox sent nonsense: 'reply': snapshot: {error}") from None

    async def restore(self, snapshot: bytes, past: Sequence[PastCell]) -> bool:
        """See `Repl.restore`."""
        cells = [cell._asdict() for cell in past]
        request: Frame = {"op": "restore", "snapshot": base64.b64encode(snapshot).decode(), "past": cells}
        told = read(Snapshot, await self._request(request, timeout_s=SNAPSHOT_TIMEOUT_S))
        if told.reason is None:
            self._past, self._cells_done = list(past), past[-1].number
        return told.reason is None

    async def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running cell."""
        await self._request({"op": "interrupt"})

    async def kill(self) -> None:
        """End the running cell with its REPL."""
        await self._request({"op": "kill"})

    async def close(self) -> None:
        """End the REPL, and wait until the supervisor has removed what it left."""
        if self._reading is not None:
            await self._send({"op": "close"})
            await asyncio.wait({self._reading}, timeout=REPLY_TIMEOUT_S)

    async def _until_done(self, request: Frame, service: Service) -> Done:
        await self._send(request)
        breaks = 0
        while True:
            event = await self._events.get()
            if isinstance(event, ConnectionError | LinkLost):
                breaks = 1 if self._held_s >= self._persistence.steady_s else breaks + 1
                await self._join_again(request, service, event, breaks)
            elif isinstance(event, BaseException):
                await service.finish()
                raise event
            elif event["ev"] == "calls":
                if service.take(read(Calls, event)):
                    breaks = 0
            elif event["ev"] == "done":
                done = read(Done, event)
                if done.cell == request["cell"]:
                    return done
            elif event.get("re") in (None, request["re"]):
                raise ExecutorError(f"the REPL refused the cell: {event.get('message')}")

    async def _join_again(
        self, request: Frame, service: Service, reason: ConnectionError | LinkLost, breaks: int
    ) -> None:
        """Open the stream again after so many `breaks` in a row, and ask for the cell."""
        self._held_s = 0.0
        if breaks > len(self._persistence.pauses_s):
            if isinstance(reason, LinkLost):
                raise reason
            raise ExecutorError(f"the REPL cannot be reached: {reason}; resume the run to try again") from reason
        await asyncio.sleep(self._persistence.pauses_s[breaks - 1])
        try:
            await self._reopen()
        except LinkLost as lost:
            self._events.put_nowait(lost)
            return
        await self._send(request)
        await service.resend()

    async def _open(self) -> None:
        reader, self._writer = await self._connect()
        self._end = None
        self._reading = asyncio.create_task(self._read_frames(reader))

    async def _reopen(self) -> None:
        """Open the stream again, unless somebody else has done it meanwhile."""
        async with self._opening:
            if self._end is None:
                return
            await self._drop()
            try:
                await self._open()
            except OSError as error:
                raise ExecutorError(f"the supervisor of the REPL is gone: {error.strerror or error}") from error

    async def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            # Nothing more is to be sent: how the other side takes it does not matter.
            await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)
            self._writer = None

    async def _read_frames(self, reader: Reader) -> None:
        splitter = Splitter()
        end: Exception = ConnectionError("the stream ended")
        opened = time.monotonic()
        try:
            while data := await reader.read(RECEIVE_BYTES):
                for frame in splitter.feed(data):
                    self._sort(frame)
        except FrameError as error:
            end = ExecutorError(f"the sandbox sent nonsense: {error}")
        except OSError as error:
            end = ConnectionError(str(error))
        self._end, self._held_s = end, time.monotonic() - opened
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(end)
        self._events.put_nowait(end)

    def _sort(self, frame: Frame) -> None:
        re = frame.get("re")
        reply = self._replies.get(re) if isinstance(re, int) else None
        if reply is not None and not reply.done():
            reply.set_result(frame)
        elif frame.get("ev") in ("calls", "done", "error"):
            self._events.put_nowait(frame)
        elif not (isinstance(re, int) and 0 < re <= self._asked):  # else nobody waits for it any more
            raise FrameError(f"an event that there is not: {str(frame.get('ev'))[:40]!r}")

    async def _request(self, request: Frame, *, timeout_s: float = REPLY_TIMEOUT_S) -> Frame:
        """Ask the supervisor something, which may be asked twice, and return its reply."""
        try:
            try:
                frame = await self._ask(request, timeout_s)
            except ConnectionError:
                await self._reopen()
                frame = await self._ask(request, timeout_s)
        except ConnectionError as error:
            raise ExecutorError(f"the supervisor of the REPL is gone: {error}") from error
        except TimeoutError as error:
            raise ExecutorError(f"the REPL did not answer {request['op']!r} within {timeout_s:g} s") from error
        if frame.get("ev") == "error":
            kind = ContextMissing if frame.get("missing") else ExecutorError
            raise kind(f"the REPL could not do {request['op']!r}: {frame.get('message')}")
        return frame

    async def _ask(self, request: Frame, timeout_s: float) -> Frame:
        if self._end is not None:
            raise self._end
        number = self._next_number()
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            # Not by `wait_for`: before Python 3.12 it loses a cancel that comes with the answer.
            async with asyncio.timeout(timeout_s):
                await self._send({**request, "re": number})
                return await reply
        finally:
            del self._replies[number]

    def _next_number(self) -> int:
        self._asked += 1
        return self._asked

    async def _send(self, frame: Frame) -> None:
        try:
            line = encode(frame)
        except FrameError as error:
            raise ExecutorError(f"{frame['op']}: {error}") from error
        async with self._writing:
            writer = self._writer
            if writer is None and self._end is None:
                raise ExecutorError("not attached to the REPL")
            if writer is None:  # the stream broke, and is being opened again: what matters is then sent again
                return
            writer.write(line)
            try:
                await writer.drain()
            except OSError:  # the reader finds that out too, and tells
                return


def _seed(number: int, cell: Cell) -> int:
    """Return the seed of a cell's randomness: the same for the same cell, so that a replay draws the same."""
    content = f"{number}\0{cell.code}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
