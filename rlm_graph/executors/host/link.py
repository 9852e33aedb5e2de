"""The connection to a supervisor: frames go out, replies find who asked, and a stream that broke is opened again."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.host.large_frames import FrameReader, encoded
from rlm_graph.executors.host.stream import Connect, Reader, Writer
from rlm_graph.executors.sandbox.frames import MAX_ITEMS, Frame, FrameError, decode

REPLY_TIMEOUT_S = 30.0
"""Seconds that a supervisor, which never blocks, has to answer."""
SEND_TIMEOUT_S = 600.0
"""Seconds that a frame may take on its way, over a slow line too."""
RECEIVE_BYTES = 1 << 20

Events = asyncio.Queue[Frame | BaseException]
"""What comes of a running cell: frames, and why the stream broke or the wait for the cell must end."""


class ContextMissing(ExecutorError):
    """There is no context where the supervisor was told to look."""


class SupervisorLink:
    """One stream at a time to one supervisor, shared by all who ask that supervisor something.

    A request may be asked twice, so `request` opens a broken stream again by itself. What a cell sends, and that the
    stream broke, goes to the queue that `follow` returned last.
    """

    def __init__(self, connect: Connect) -> None:
        self.held_s = 0.0
        """How long the last stream held that broke."""
        self._connect = connect
        self._numbers = 0
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._events: Events = asyncio.Queue()
        self._writing = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._writer: Writer | None = None
        self._reading: asyncio.Task[None] | None = None
        self._end: Exception | None = None
        """Why the stream is of no use any more."""

    @property
    def is_open(self) -> bool:
        """Whether there is a stream, and it has not ended as far as it is known."""
        return self._writer is not None and self._end is None

    async def open(self) -> None:
        """Open the stream. Raises `OSError` if nobody listens, `LinkLost` if that cannot be told."""
        connecting = asyncio.ensure_future(self._connect())
        try:
            reader, self._writer = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_close_unwanted)
            raise
        self._end = None
        self._reading = asyncio.create_task(self._read_frames(reader))

    async def reopen(self) -> None:
        """Open the stream again, unless somebody else has done it meanwhile."""
        async with self._opening:
            if self._end is None:
                return
            await self._drop()
            try:
                await self.open()
            except OSError as error:
                raise ExecutorError(f"the supervisor of the REPL is gone: {error.strerror or error}") from error

    async def close(self) -> None:
        """Close the stream for good. Idempotent."""
        await self._drop()
        self._end = None

    async def wait_ended(self, timeout_s: float) -> None:
        """Wait until the supervisor has closed the stream, but no longer than that."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=timeout_s)

    def follow(self) -> Events:
        """Return a new queue of what comes from now on and answers no request; the one before gets nothing more."""
        self._events = asyncio.Queue()
        if self._end is not None:
            self._events.put_nowait(self._end)
        return self._events

    def next_number(self) -> int:
        """Return the number of a request, which its reply carries too."""
        self._numbers += 1
        return self._numbers

    async def request(self, request: Frame, *, timeout_s: float = REPLY_TIMEOUT_S) -> Frame:
        """Ask the supervisor something, which may be asked twice, and return its reply.

        Raises `ContextMissing` where the supervisor says so, else `ExecutorError` if it refuses or is gone.
        """
        try:
            try:
                frame = await self._ask(request, timeout_s)
            except ConnectionError:
                await self.reopen()
                frame = await self._ask(request, timeout_s)
        except ConnectionError as error:
            raise ExecutorError(f"the supervisor of the REPL is gone: {error}") from error
        except TimeoutError as error:
            raise ExecutorError(f"the REPL did not answer {request['op']!r} within {timeout_s:g} s") from error
        if frame.get("ev") == "error":
            kind = ContextMissing if frame.get("missing") else ExecutorError
            raise kind(f"the REPL could not do {request['op']!r}: {frame.get('message')}")
        return frame

    async def send(self, frame: Frame) -> None:
        """Send a frame. If the stream has broken it is lost: whoever waits for what comes of it sends it again.

        Raises `ExecutorError` for a frame that is too long, and if nobody takes it.
        """
        try:
            pieces = await encoded(frame)
        except FrameError as error:
            raise ExecutorError(f"{frame['op']}: {error}") from error
        if len(pieces) == 1:
            await self._write(pieces)
        else:  # whoever sends it may be cancelled in its middle, and what comes next on the stream must be a frame
            await asyncio.shield(asyncio.ensure_future(self._write(pieces)))

    async def _write(self, pieces: Sequence[bytes]) -> None:
        async with self._writing:
            writer = self._writer
            if writer is None and self._end is None:
                raise ExecutorError("not attached to the REPL")
            if writer is None:  # the stream broke, and is being opened again: what matters is then sent again
                return
            deadline = asyncio.timeout(SEND_TIMEOUT_S)
            try:
                async with deadline:
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
            except OSError as error:
                if deadline.expired():
                    raise ExecutorError(f"the REPL has taken nothing for {SEND_TIMEOUT_S:g} s") from error
                return  # the reader finds that out too, and tells

    async def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()  # before anything is awaited: a cancel may come in between
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            # Nothing more is to be sent: how the supervisor's side takes it does not matter.
            await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)
            self._writer = None

    async def _ask(self, request: Frame, timeout_s: float) -> Frame:
        if self._end is not None:
            raise self._end
        number = self.next_number()
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            # Not by `wait_for`: before Python 3.12 it loses a cancel that comes with the answer.
            async with asyncio.timeout(timeout_s):
                await self.send({**request, "re": number})
                return await reply
        finally:
            del self._replies[number]

    async def _read_frames(self, reader: Reader) -> None:
        splitter = FrameReader(functools.partial(decode, max_items=MAX_ITEMS))
        end: Exception = ConnectionError("the stream ended")
        opened = time.monotonic()
        try:
            while data := await reader.read(RECEIVE_BYTES):
                async for frame in splitter.feed(data):
                    self._sort(frame)
        except FrameError as error:
            end = ExecutorError(f"the sandbox sent nonsense: {error}")
        except OSError as error:
            end = ConnectionError(str(error))
        self._end, self.held_s = end, time.monotonic() - opened
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
        elif not (isinstance(re, int) and 0 < re <= self._numbers):  # else nobody waits for it any more
            raise FrameError(f"an event that there is not: {str(frame.get('ev'))[:40]!r}")


def _close_unwanted(connecting: asyncio.Future[tuple[Reader, Writer]]) -> None:
    """Close a stream that came to be after whoever wanted it was cancelled."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result()[1].close()
