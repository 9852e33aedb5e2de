"""A run that a service is at work on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlm_graph.budget import Usage
from rlm_graph.errors import RunHeldError
from rlm_graph.runs.decisions import Waiting
from rlm_graph.runs.feed import Feed
from rlm_graph.runs.notices import Body, Notice
from rlm_graph.state import Answer
from rlm_graph.storage.runs import Run

if TYPE_CHECKING:
    from langgraph.runtime import RunControl


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for now or for good. With no answer and nothing that waits, it was interrupted."""

    run: Run
    """As it is booked now."""
    question: str
    """The one that was worked on: what the run was started with, or was asked last."""
    answer: Answer | None
    usage: Usage
    """What the run has spent itself: a fork, since its source was copied."""
    waiting: tuple[Waiting, ...] = ()
    """What waits for approval, in the order of the numbers that a `Verdict` takes."""


@dataclass(frozen=True)
class Watch:
    """How a caller looks on at the work on a run."""

    observer: Callable[[Notice], None] | None = None
    """Told each notice as it comes. What it takes to return holds the run back; what it raises ends the run after the
    step under way, and is raised to who waits for the outcome."""
    tokens: bool = False
    """Whether what models write is told piece by piece. They are then asked to stream it."""
    waiting: Callable[[RunHeldError], None] | None = None
    """Told once who holds the run, which is then waited for. Without it, a run that is held is an error."""


class LiveRun:
    """A run that the service holds: to be followed, stopped and waited for.

    It goes on whether or not anybody waits for it. One that had nothing left to do is `idle`, and over at once.
    """

    def __init__(self, run: Run, watch: Watch, feed: Feed, task: asyncio.Task[Outcome], *, idle: bool) -> None:
        from langgraph.runtime import RunControl

        self.run = run
        """As it was entered."""
        self.idle = idle
        self.tokens = watch.tokens
        self.control: RunControl = RunControl()
        self.failure: Exception | None = None
        """What the observer has raised."""
        self._observer = watch.observer
        self._feed = feed
        self.task = task
        self._driven = False
        self._stopped = False

    async def outcome(self) -> Outcome:
        """Wait until the run has ended, and return how. Raises what ended it, `RLMError` or not.

        To give up waiting does not stop the run.
        """
        return await asyncio.shield(self.task)

    def follow(self, since: int | None = None) -> AsyncIterator[Notice]:
        """Yield what the run tells, from a number on; see `RunService.follow`."""
        return self._feed.follow(since)

    def drain(self) -> None:
        """Let the step under way end, so that what it has paid for is recorded, and the run with it."""
        self.control.request_drain("interrupted")

    def stop(self) -> None:
        """Stop now: calls that were answered are recorded, those under way are lost."""
        if self._driven and not self._stopped:
            self._stopped = True
            self.task.cancel()

    def tell(self, body: Body) -> None:
        """Give what happened to everybody who looks on.

        An observer that fails is told no more, and the run ends after its step with `failure`. To leave the graph in
        the middle of a step could lose the way on: LangGraph then records what a node has written so far as all of it.
        """
        notice = self._feed.put(body)
        if self._observer is None:
            return
        try:
            self._observer(notice)
        except Exception as error:
            self._observer = None
            self.failure = error
            self.drain()

    def begin(self) -> None:
        """Say that the graph is at work now: from here on, `stop` reaches it."""
        self._driven = True

    @property
    def stopped(self) -> bool:
        """Whether `stop` has reached it."""
        return self._stopped

    async def rest(self) -> None:
        """Say that the graph is at work no more. Lets the task await again if `stop` has cancelled it."""
        self._driven = False
        if self._stopped:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # a stop that came with the last part has not been thrown yet
            self.task.uncancel()
