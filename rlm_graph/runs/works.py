"""The runs that a service is at work on, each in a task of its own, and what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any

from rlm_graph.errors import Hint
from rlm_graph.runs.feed import Feed
from rlm_graph.runs.job import Job
from rlm_graph.runs.live import LiveRun, Outcome, Watch
from rlm_graph.runs.standing import NOTHING, Continuation, Standing
from rlm_graph.storage.failures import storage_errors
from rlm_graph.storage.runs import Run, Runs

MAX_FEEDS = 64
"""Runs that are over whose notices can still be read again."""

Entered = asyncio.Future[LiveRun]
"""Resolved once the run is held, has its entry, and is known to go on."""

Life = Callable[[Entered], Coroutine[Any, Any, Outcome]]
"""All that is done with a run while it is held, from its lock to the booking of its end."""


class Works:
    """Tasks of runs, and the feeds that outlast them."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._live: dict[str, LiveRun] = {}
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._entering: set[asyncio.Task[Outcome]] = set()
        """Those whose run is not entered yet."""
        self._feeds: dict[str, Feed] = {}
        """By the run; those that began first come first."""

    def get(self, id: str) -> LiveRun | None:
        """Return the run if it is at work here."""
        return self._live.get(id)

    def feed(self, id: str) -> Feed | None:
        """Return what the run tells, or has told if that is kept."""
        return self._feeds.get(id)

    def forget(self, id: str) -> None:
        """Keep nothing of a run that was deleted."""
        self._feeds.pop(id, None)

    async def begin(self, life: Life) -> LiveRun:
        """Give a run's life a task of its own; return once the run is entered. A caller who gives up ends it."""
        entered: Entered = asyncio.get_running_loop().create_future()

        async def lived() -> Outcome:
            with self.storage_errors():
                return await life(entered)

        task = asyncio.create_task(lived())
        self._tasks.add(task)
        self._entering.add(task)
        task.add_done_callback(self._over)
        waited: set[asyncio.Future[Any]] = {entered, task}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        if not entered.done():
            await task  # which raises why
        live = entered.result()
        if live.idle:
            await asyncio.wait({task})  # it lets go of the run at once, which may then be taken up again
        return live

    async def go_on(
        self,
        entered: Entered,
        graph: Any,
        run: Run,
        job: Job,
        goes_on: Continuation,
        watch: Watch,
        standing: Standing | None = None,
    ) -> Outcome:
        """Drive a run that is held, in the present task. `standing` is where it stands, if that is known."""
        from rlm_graph.runs.driving import drive

        standing = standing or await Standing.read(graph, run.id)
        if standing.state or standing.pending:
            await self._runs.come_after(run.id)
        given = await goes_on(graph, standing, job)
        task: asyncio.Task[Outcome] | None = asyncio.current_task()
        assert task is not None
        feed = self._opened_feed(run.id)
        live = LiveRun(run, watch, feed, task, idle=given is NOTHING)
        self._live[run.id] = live
        self._entering.discard(task)
        entered.set_result(live)
        try:
            return await drive(graph, self._runs, live, standing, given, job)
        finally:
            del self._live[run.id]
            feed.close()

    async def drain(self) -> None:
        """Let the steps under way end, and wait until the runs are booked."""
        for live in self._live.values():
            live.drain()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Stop what is under way, and wait until it is booked."""
        for live in self._live.values():
            live.stop()
        for task in self._entering:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def storage_errors(self) -> AbstractContextManager[None]:
        """Have the failures of the database leave the block as `StorageError`."""
        return storage_errors(str(self._runs.path), elsewhere=Hint("name_database"))

    def _opened_feed(self, id: str) -> Feed:
        """Return the run's feed, open, as the newest of all; the oldest of those that are over is forgotten."""
        feed = self._feeds.pop(id, None) or Feed()
        feed.open()
        for over in [other for other in self._feeds if other not in self._live][: -MAX_FEEDS + 1]:
            del self._feeds[over]
        self._feeds[id] = feed
        return feed

    def _over(self, task: asyncio.Task[Outcome]) -> None:
        self._tasks.discard(task)
        self._entering.discard(task)
        if not task.cancelled():
            task.exception()  # known to whoever waits, and in the run's notices; nobody need wait
