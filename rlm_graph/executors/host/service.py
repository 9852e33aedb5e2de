"""The calls of one running cell, and their answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from rlm_graph.bridge import in_thread
from rlm_graph.executors.base import CallResult, Serve
from rlm_graph.executors.host.handed_texts import BadText, Fetch, GivenContexts
from rlm_graph.executors.host.large_frames import encoded
from rlm_graph.executors.host.reports import Calls, ReportedCall
from rlm_graph.executors.sandbox.frames import MAX_ITEMS, MAX_VALUE, Frame, FrameError, count_items

ON_THE_WAY_BYTES = 64 << 20
"""Of answers that were sent and may not have come: far more than sockets and pipes on the way hold."""


class Service:
    """Answers the calls of one cell. Each is answered as soon as its answer is there."""

    def __init__(
        self,
        cell: int,
        allowed: frozenset[str],
        serve: Serve,
        *,
        send: Callable[[Frame], Awaitable[None]],
        contexts: GivenContexts | None = None,
        fetch: Fetch | None = None,
        failed: Callable[[BaseException], None],
    ) -> None:
        """Calls may name pieces of `contexts`, and what `fetch` gets from the sandbox."""
        self._contexts = contexts or GivenContexts()
        self._fetch = fetch
        self._cell = cell
        self._allowed = allowed
        self._serve = serve
        self._send = send
        self._failed = failed
        self._tasks: dict[int, asyncio.Task[None]] = {}
        """Of calls under way, by their ids."""
        self._answers: dict[int, tuple[Frame, int]] = {}
        """What was answered last, with its bytes."""
        self._answered_bytes = 0
        self._last_id = 0
        self.last_begun = 0
        """The id of the last call that has been handed to `serve`."""
        self.answered_at = time.monotonic()
        """When a call was answered last, or when the cell began (monotonic)."""

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._tasks)

    def take(self, announced: Calls) -> bool:
        """Start to answer what is new, and tell whether anything is.

        A call that came before is under way or answered already.
        """
        if announced.cell != self._cell:
            return False
        before = self._last_id
        for call in announced.calls:
            if call.id not in self._tasks and call.id not in self._answers:
                self._tasks[call.id] = asyncio.create_task(self._answer(call))
            self._last_id = max(self._last_id, call.id)
        return self._last_id > before

    async def resend(self) -> None:
        """Send again what may have been lost on the way."""
        for answer, _ in list(self._answers.values()):
            await self._send(self._resume(answer))

    async def finish(self) -> None:
        """Let the calls under way come to their end: they are paid for."""
        await asyncio.gather(*list(self._tasks.values()), return_exceptions=True)

    async def cancel(self) -> None:
        """Stop answering."""
        for task in list(self._tasks.values()):
            task.cancel()
        await self.finish()

    async def _answer(self, call: ReportedCall) -> None:
        self.last_begun = max(self.last_begun, call.id)
        try:
            result = await self._served(call)
            answer, size = await _fitting({"id": call.id, **result.as_frame()})
            self._keep(answer, size)
            await self._send(self._resume(answer))
        except Exception as error:
            # Not of the code's making: a question to a person, a lost database. The run decides.
            self._failed(error)
        finally:
            self._tasks.pop(call.id, None)
            self.answered_at = time.monotonic()

    def _keep(self, answer: Frame, size: int) -> None:
        """Keep an answer in case it is lost on the way, and drop those that cannot be: too much was sent since."""
        self._answers[answer["id"]] = answer, size
        self._answered_bytes += size
        while self._answered_bytes > ON_THE_WAY_BYTES and len(self._answers) > 1:
            _, dropped = self._answers.pop(next(iter(self._answers)))
            self._answered_bytes -= dropped

    async def _served(self, call: ReportedCall) -> CallResult:
        if call.function not in self._allowed:
            return CallResult(error=f"the host has no function {call.function!r}", error_type="NameError")
        async with contextlib.AsyncExitStack() as files:
            try:
                made = await self._contexts.call(call, self._fetch or _nothing, files)
            except BadText as error:
                return CallResult(error=f"{call.function}: {error}", error_type="ValueError")
            return await self._serve(made)

    def _resume(self, answer: Frame) -> Frame:
        return {"op": "resume", "cell": self._cell, "results": [answer]}


async def _nothing(call: int, start: int) -> bytes:
    """Get nothing of what was sent beside a call, for there is nobody to ask."""
    return b""


async def _fitting(answer: Frame) -> tuple[Frame, int]:
    """Return the answer, or an error in its place if no frame can carry it, and its bytes."""
    try:
        pieces = await encoded(answer)
        size = sum(map(len, pieces))
        if size <= MAX_VALUE and (size <= MAX_ITEMS or await in_thread(_items_in, pieces) <= MAX_ITEMS):
            return answer, size
        problem = f"the answer takes {size:,} bytes, or holds more values than a frame can carry"
    except FrameError as error:
        problem = f"the answer cannot be sent: {error}"
    return {"id": answer["id"], "value": None, "error": problem, "error_type": "ValueError"}, len(problem)


def _items_in(pieces: Sequence[bytes]) -> int:
    """Return about how many values there are: what stands in texts is told apart only if that matters."""
    rough = sum(count_items(piece, len(piece)) for piece in pieces)
    return rough if rough <= MAX_ITEMS else count_items(b"".join(pieces), MAX_ITEMS)
