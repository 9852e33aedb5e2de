"""A REPL in a sandbox, seen from the host: what is asked of its supervisor. Every frame of that is untrusted."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rlm_graph.bridge import in_thread
from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import PastCell, Progress, Serve
from rlm_graph.executors.host.handed_texts import GivenContexts, decoded
from rlm_graph.executors.host.link import ContextMissing, Events, SupervisorLink
from rlm_graph.executors.host.process import this_owner
from rlm_graph.executors.host.reports import (
    Calls,
    CellProgress,
    Done,
    Pong,
    SentSlice,
    Snapshot,
    Variables,
    read,
    read_large,
)
from rlm_graph.executors.host.service import Service
from rlm_graph.executors.host.stream import PERSISTENCE, Connect, LinkLost, Persistence
from rlm_graph.executors.sandbox.frames import MAX_VALUE, Frame
from rlm_graph.executors.sandbox.readings import Readings, whole_streams
from rlm_graph.state import Cell, ContextRef, Execution, ReplHandle, Variable

BUILT_IN = frozenset({
    "llm_query", "llm_query_batched", "rlm_query", "rlm_query_batched",
    "rlm_remember", "rlm_recall", "rlm_forget", "rlm_notes",
})  # fmt: skip
"""Host functions that every REPL has. What else code calls must be one of its tools."""

CONTEXT_TIMEOUT_S = 600.0
"""Seconds that a worker has to take in a context."""
POLL_S = 1.0
"""Seconds between two looks at whether calls are still under way."""
SNAPSHOT_TIMEOUT_S = 120.0
"""Seconds that a worker has to take a snapshot, or to read one."""
MAX_SNAPSHOT = MAX_VALUE // 4 * 3
"""Bytes, of which base64 makes what one frame can carry."""
_PIECE = 3 << 18
"""Bytes of a snapshot that are written as Base64 in one call: a number that three divides."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ContextUploads(NamedTuple):
    """How contexts come into a sandbox whose supervisor cannot read the files of this machine."""

    folder: str
    """The folder of all contexts in the sandbox, as its supervisor finds it."""
    upload: Callable[[str, Path], Awaitable[None]]
    """Puts a context of the store, by its folder, under a name into that folder of the sandbox. Its index must come
    last: where the supervisor finds that, the text is whole."""


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
        uploads: ContextUploads | None = None,
        persistence: Persistence = PERSISTENCE,
        stays: bool = False,
    ) -> None:
        """Without `uploads`, the supervisor reads contexts where the store of this machine keeps them.

        `stays` says that an owner may stay attached while it does something else.
        """
        self._handle = handle
        self._link = SupervisorLink(connect)
        self._tools = tuple(tools)
        self._uploads = uploads
        self._persistence = persistence
        self._allowed = BUILT_IN | {tool.partition("(")[0] for tool in tools}
        self._running = asyncio.Lock()
        self._cells_done = 0
        self._past: list[PastCell] = []
        self._bound: set[tuple[int, str]] = set()
        """Those that the REPL has been given here, by number and folder."""
        self._owner = Frame()
        self._service: Service | None = None
        self._readings: Readings = {}
        self._ahead = 0
        self._contexts = GivenContexts()
        self.stays = stays

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
        """The cells that this namespace holds the effects of, and the one that ran when it was attached to."""
        return self._past

    async def attach(self) -> None:
        """Connect, and learn where the REPL is.

        Raises `OSError` if nobody listens, `LinkLost` if that cannot be told, `ExecutorError` if the supervisor is of
        another version or has no worker.
        """
        await self._link.open()
        self._owner = this_owner()
        pong = read(Pong, await self._link.request({"op": "ping", "host": self._owner}))
        if pong.version != self._handle.worker_version:
            raise ExecutorError(
                f"the REPL runs version {pong.version} of the worker, not {self._handle.worker_version}"
            )
        if pong.failure is not None:
            raise ExecutorError(pong.failure)
        self._cells_done = pong.cells_done
        self._past = [PastCell(cell.number, cell.branch) for cell in pong.past]
        if self._tools:
            await self._link.request({"op": "tools", "tools": list(self._tools)})

    async def is_as_left(self) -> bool:
        """See `Stays`. A REPL that no cell has run in is taken for another: its contexts may have gone unseen."""
        if not self._cells_done or not self._link.is_open:
            return False
        try:
            report = await self._link.request({"op": "look"})
        except (ExecutorError, OSError):
            return False
        return (report.get("host"), report.get("cells_done"), report.get("cell")) == (
            self._owner, self._cells_done, None
        )  # fmt: skip

    async def detach(self) -> None:
        """Close the connection for good. The REPL lives on."""
        await self._link.close()

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
            events = self._link.follow()
            request = {
                "op": "exec", "re": self._link.next_number(), "cell": number, "code": cell.code,
                "branch": branch, "language": cell.language, "timeout": timeout_s, "started_at": started_at,
                "seed": _seed(number, cell), "readings": self._readings, "ahead": self._ahead,
            }  # fmt: skip
            self._readings, self._ahead = {}, 0
            service = Service(
                number,
                self._allowed,
                serve,
                send=self._link.send,
                contexts=self._contexts,
                fetch=functools.partial(self._sent, number),
                failed=events.put_nowait,
            )
            self._service = service
            try:
                done = await self._until_done(request, service, events)
            finally:
                await service.cancel()
        self._note(done, PastCell(number, branch))
        kept = done.model_dump(exclude={"cell", "error", "final", "readings"})
        return Execution(
            number=number, code=cell.code, language=cell.language, error=done.error, final=done.final,
            readings=whole_streams(done.readings), **kept,
        )  # fmt: skip

    def give_readings(self, readings: Readings) -> None:
        """See `RepeatsReadings`."""
        self._readings = whole_streams(readings)

    def begin_ahead(self, calls: int) -> None:
        """See `BeginsAhead`."""
        self._ahead = calls

    def _note(self, done: Done, cell: PastCell) -> None:
        if done.status == "killed":
            self._cells_done = 0
            self._past.clear()
            self._bound.clear()
            return
        self._cells_done = cell.number
        if cell not in self._past:  # else it had run before, and only its outcome was told again
            self._past.append(cell)

    async def progress(self, *, answered: bool = False) -> Progress:
        """See `ReportsProgress`."""
        report = read(CellProgress, await self._link.request({"op": "progress", "answered": answered}))
        begun = 0 if self._service is None else self._service.last_begun
        return Progress(begun >= report.calls, report.still, report.turns, frozenset(report.answered))

    async def add_context(self, number: int, context: ContextRef, *, folder: Path) -> None:
        """See `Repl.add_context`. What was uploaded once is used again, whoever gives it, under whatever number."""
        if self._uploads is None:
            await self._bind_context(number, str(folder))
            self._contexts.add(number, context, folder)
            return
        if not _DIGEST.fullmatch(context.sha256):
            raise ValueError(f"no digest of a context: {context.sha256!r}")
        name = f"{context.kind}-{context.sha256}"
        there = f"{self._uploads.folder}/{name}"
        try:
            await self._bind_context(number, there)
        except ContextMissing:
            await self._uploads.upload(name, folder)
            await self._bind_context(number, there)
        self._contexts.add(number, context, folder)

    async def look(self) -> Frame:
        """Return how the REPL is, without using it: `host`, `idle_s` (None while one is attached), `cell`.

        For those who have not attached. Raises `OSError` if nobody listens.
        """
        await self._link.open()
        return await self._link.request({"op": "look"})

    async def variables(self) -> Sequence[Variable]:
        """List the names that cells have bound."""
        return read(Variables, await self._link.request({"op": "vars"})).variables

    async def snapshot(self, max_bytes: int) -> bytes | None:
        """See `Repl.snapshot`."""
        request: Frame = {"op": "snapshot", "max_bytes": min(max_bytes, MAX_SNAPSHOT)}
        report = read(Snapshot, await self._link.request(request, timeout_s=SNAPSHOT_TIMEOUT_S))
        if report.snapshot is None:
            return None
        if len(report.snapshot) > (request["max_bytes"] + 2) // 3 * 4:
            raise ExecutorError("the sandbox sent nonsense: a snapshot larger than was asked for")
        try:
            return await in_thread(_bytes_of, report.snapshot)
        except ValueError as error:
            raise ExecutorError(f"the sandbox sent nonsense: 'reply': snapshot: {error}") from None

    async def restore(self, snapshot: bytes, past: Sequence[PastCell]) -> bool:
        """See `Repl.restore`."""
        cells = [cell._asdict() for cell in past]
        request: Frame = {"op": "restore", "snapshot": await in_thread(_text_of, snapshot), "past": cells}
        report = read(Snapshot, await self._link.request(request, timeout_s=SNAPSHOT_TIMEOUT_S))
        if report.reason is None:
            self._past, self._cells_done = list(past), past[-1].number
        else:
            self._bound.clear()
        return report.reason is None

    async def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running cell."""
        await self._link.request({"op": "interrupt"})

    async def kill(self) -> None:
        """End the running cell with its REPL."""
        await self._link.request({"op": "kill"})

    async def _bind_context(self, number: int, folder: str) -> None:
        """Give a context that lies in a folder of the supervisor's. Raises `ContextMissing` if it is not there."""
        if (number, folder) in self._bound:
            return
        request = {"op": "context", "number": number, "folder": folder}
        await self._link.request(request, timeout_s=CONTEXT_TIMEOUT_S)
        self._bound.add((number, folder))

    async def _sent(self, cell: int, call: int, start: int) -> bytes:
        """Return some of what was sent beside a call, from a byte on."""
        request: Frame = {"op": "text", "cell": cell, "call": call, "at": start}
        return decoded(read(SentSlice, await self._link.request(request)).data)

    async def _until_done(self, request: Frame, service: Service, events: Events) -> Done:
        await self._link.send(request)
        breaks = 0
        while True:
            event = await self._next_event(request, service, events)
            if isinstance(event, ConnectionError | LinkLost):
                breaks = 1 if self._link.held_s >= self._persistence.steady_s else breaks + 1
                await self._join_again(request, service, events, event, breaks)
            elif isinstance(event, BaseException):
                await service.finish()
                raise event
            elif event["ev"] == "calls":
                if service.take(await read_large(Calls, event)):
                    breaks = 0
            elif event["ev"] == "done":
                done = await read_large(Done, event)
                if done.cell == request["cell"]:
                    return done
            elif event.get("re") in (None, request["re"]):
                raise ExecutorError(f"the REPL refused the cell: {event.get('message')}")

    async def _next_event(self, request: Frame, service: Service, events: Events) -> Frame | BaseException:
        """Return what comes of the cell next; ask once more if its end must have come and nobody has told of it.

        Raises `ExecutorError` if that helps nothing.
        """
        for again in (False, True):
            if again:
                await self._link.send(request)
            asked_at = time.monotonic()
            patience_s = request["timeout"] + self._persistence.silence_s
            while (left_s := max(asked_at, service.answered_at) + patience_s - time.monotonic()) > 0 or service.busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s if left_s > 0 else POLL_S):
                        return await events.get()
        raise ExecutorError(f"the REPL tells nothing of cell {request['cell']} any more; resume the run to try again")

    async def _join_again(
        self, request: Frame, service: Service, events: Events, reason: ConnectionError | LinkLost, breaks: int
    ) -> None:
        """Open the stream again after so many `breaks` in a row, and ask for the cell."""
        self._link.held_s = 0.0
        if breaks > len(self._persistence.pauses_s):
            if isinstance(reason, LinkLost):
                raise reason
            raise ExecutorError(f"the REPL cannot be reached: {reason}; resume the run to try again") from reason
        await asyncio.sleep(self._persistence.pauses_s[breaks - 1])
        try:
            await self._link.reopen()
        except LinkLost as lost:
            events.put_nowait(lost)
            return
        await self._link.send(request)
        await service.resend()


def _bytes_of(text: str) -> bytes:
    """Read Base64, a piece at a time: see `large_frames`. Raises `ValueError`."""
    pieces = (text[at : at + _PIECE // 3 * 4] for at in range(0, len(text), _PIECE // 3 * 4))
    return b"".join([base64.b64decode(piece, validate=True) for piece in pieces])


def _text_of(data: bytes) -> str:
    pieces = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
    return "".join([base64.b64encode(piece).decode("ascii") for piece in pieces])


def _seed(number: int, cell: Cell) -> int:
    """Return the seed of a cell's randomness: the same for the same cell, so that a replay draws the same."""
    content = f"{number}\0{cell.code}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
