"""The calls of one running cell, and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rlm_graph.executors.base import CallResult, HostCall, Serve
from rlm_graph.executors.host.reports import Calls, ReportedCall
from rlm_graph.executors.sandbox.frames import MAX_VALUE, Frame, FrameError, encode


class Service:
    """Answers the calls of one cell. Each is answered as soon as its answer is there."""

    def __init__(
        self,
        cell: int,
        allowed: frozenset[str],
        serve: Serve,
        *,
        send: Callable[[Frame], Awaitable[None]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._cell = cell
        self._allowed = allowed
        self._serve = serve
        self._send = send
        self._failed = failed
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._answers: dict[int, Frame] = {}
        self.last_begun = 0
        """The id of the last call that has been handed to `serve`."""

    def take(self, announced: Calls) -> bool:
        """Start to answer what is new, and tell whether anything is.

        A call that came before is under way or answered already.
        """
        if announced.cell != self._cell:
            return False
        before = len(self._tasks)
        for call in announced.calls:
            if call.id not in self._tasks:
                self._tasks[call.id] = asyncio.create_task(self._answer(call))
        return len(self._tasks) > before

    async def resend(self) -> None:
        """Send again what may have been lost on the way."""
        for answer in list(self._answers.values()):
            await self._send(self._resume(answer))

    async def finish(self) -> None:
        """Let the calls under way come to their end: they are paid for."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def cancel(self) -> None:
        """Stop answering."""
        for task in self._tasks.values():
            task.cancel()
        await self.finish()

    async def _answer(self, call: ReportedCall) -> None:
        self.last_begun = max(self.last_begun, call.id)
        try:
            result = await self._served(call)
            answer = _fitting({"id": call.id, **result.as_frame()})
            self._answers[call.id] = answer
            await self._send(self._resume(answer))
        except Exception as error:
            # Not of the code's making: a question to a person, a lost database. The run decides.
            self._failed(error)

    async def _served(self, call: ReportedCall) -> CallResult:
        if call.function not in self._allowed:
            return CallResult(error=f"the host has no function {call.function!r}", error_type="NameError")
        return await self._serve(HostCall(id=call.id, function=call.function, arguments=call.arguments, nth=call.nth))

    def _resume(self, answer: Frame) -> Frame:
        return {"op": "resume", "cell": self._cell, "results": [answer]}


def _fitting(answer: Frame) -> Frame:
    """Return the answer, or an error in its place if no frame can carry it."""
    try:
        length = len(encode(answer))
        if length <= MAX_VALUE:
            return answer
        problem = f"the answer takes {length:,} bytes, more than {MAX_VALUE:,}"
    except (FrameError, TypeError, ValueError) as error:
        problem = f"the answer cannot be sent: {error}"
    return {"id": answer["id"], "value": None, "error": problem, "error_type": "ValueError"}
