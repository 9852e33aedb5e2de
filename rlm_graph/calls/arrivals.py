"""The order in which the answers to one cell's calls came, and in which its code is given them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import Progress

LOOK_S = 0.05
"""How often a replay looks whether the code still does anything, while it waits for a call."""
STILL_S = 5.0
"""Seconds without a step of the code after which a call that it made before is not waited for any more."""
DOZE_S = 30.0
"""Seconds asleep after which none is waited for, though the code has threads that wake up by themselves."""


class AskProgress(Protocol):
    """Tells how far the code of the running cell is: see `ReportsProgress`."""

    def __call__(self, *, answered: bool = False) -> Awaitable[Progress]:
        """Return the progress, with the keys of the calls that are `answered` if they are wanted."""


class RecordedCall(NamedTuple):
    """What is recorded of a call of the cell."""

    requests: int
    answers: int
    arrival: int
    """The largest `SubcallReply.arrival` of its answers: when it was complete."""


@dataclass
class _OpenCall:
    """A call that the code waits for."""

    arrival: int
    """Of the last answer to it that is known; 0 if none is, or if it was recorded without one."""
    left: int
    """Answers that have not come."""
    turn: asyncio.Future[None] | None = None
    """Done when the code may be given what came. None until it is recorded."""


class Arrivals:
    """Numbers the answers of a cell as they come, and has its code given them in that order, now and in every replay.

    A call's number is that of the last answer to it, which is recorded with the answer. An answer is held back until
    those with smaller numbers have been given: to calls that the code waits for, and, in a replay, to calls that are
    recorded and that the code has not made yet. Code that asks in another order than before would wait for ever; so
    it is watched, and once it has not moved for `STILL_S` nothing is waited for that it has not asked.
    """

    def __init__(self, recorded: Mapping[str, RecordedCall], progress: AskProgress | None, *, last: int) -> None:
        """`recorded` has the calls of the cell that are recorded, by name, less those that its code has answers to.

        `last` is the largest number that is recorded of the cell.
        """
        self._recorded = dict(recorded)
        self._progress = progress
        self._numbers = itertools.count(last + 1)
        self._open: dict[str, _OpenCall] = {}
        self._watching: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    def begin(self, name: str, requests: int) -> None:
        """Note that the code makes a call."""
        recorded = self._recorded.pop(name, RecordedCall(requests, 0, 0))
        self._open[name] = _OpenCall(recorded.arrival, requests - recorded.answers)

    def pass_by(self, name: str) -> None:
        """Note that the code makes a call whose answer it may be given at any time: no other waits for it."""
        self._recorded.pop(name, None)
        self._give_next()

    def number(self, name: str) -> int:
        """Return the number of an answer to an open call that has just come."""
        number = next(self._numbers)
        call = self._open.get(name)
        if call is not None:  # else the act has been cancelled meanwhile
            call.arrival, call.left = number, call.left - 1
        return number

    async def turn(self, name: str) -> None:
        """Wait until the code may be given what came for an open call, which is recorded now.

        Raises the error of `fail`: the code is then given nothing more.
        """
        if self._failure is not None:
            raise self._failure
        call = self._open[name]
        if not call.arrival:
            return
        call.turn = asyncio.get_running_loop().create_future()
        self._give_next()
        await call.turn

    def end(self, name: str) -> None:
        """Note that the code is being given what came for a call, or that it never will be."""
        del self._open[name]
        self._give_next()

    def fail(self, error: Exception) -> None:
        """Give the code nothing more, for the act ends here: what is recorded will be given when the run goes on."""
        self._failure = error
        for call in self._open.values():
            if call.turn is not None and not call.turn.done():
                call.turn.set_exception(error)

    def _give_next(self) -> None:
        call = self._next()
        if call is None or call.turn is None or call.turn.done():
            return  # it is on its way into the record, or to the code
        if not self._awaits_calls(call):
            call.turn.set_result(None)
        elif self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    def _next(self) -> _OpenCall | None:
        # What is recorded has come whole, however few of its answers were counted: others may be of an older version.
        whole = [call for call in self._open.values() if call.arrival and (call.left <= 0 or call.turn is not None)]
        return min(whole, key=lambda call: call.arrival, default=None)

    def _awaits_calls(self, call: _OpenCall) -> bool:
        """Whether calls were answered before that one which the code has not made again so far."""
        if self._progress is None:
            return False
        return any(
            0 < made.arrival < call.arrival and made.answers >= made.requests for made in self._recorded.values()
        )

    async def _watch(self) -> None:
        """Wait for calls only as long as the code may still make them."""
        clock = asyncio.get_running_loop().time
        still_since, dozed_s = clock(), 0.0
        before: Progress | None = None
        while (call := self._next()) is not None and call.turn is not None and self._awaits_calls(call):
            progress = await self._told()
            sleeps = progress is not None and progress.seen and progress.still
            dozed_s += LOOK_S if sleeps else 0.0
            if not sleeps or progress != before:
                still_since, before = clock(), progress
            if clock() - still_since >= STILL_S or dozed_s >= DOZE_S:
                self._recorded.clear()
                break
            await asyncio.sleep(LOOK_S)
        self._watching = None
        self._give_next()

    async def _told(self) -> Progress | None:
        assert self._progress is not None
        try:
            return await self._progress()
        except ExecutorError:  # the sandbox is out of reach: whoever runs the cell finds that out too
            return None
