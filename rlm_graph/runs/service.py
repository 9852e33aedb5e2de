"""The life of a run, for every door: started, taken up again, asked, forked, decided on, stopped, deleted, followed.

    async with RunService.open(settings) as service:
        live = await service.start(Job("What does it say?", settings, context=reference))
        async for notice in live.follow():
            ...
        outcome = await live.outcome()

One service serves any number of runs at once, on one event loop and one database. A program that wants what it reads
checked calls `langgraph_internals.read_strictly` before it imports this module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import Hint, InputError
from rlm_graph.executors import warm_up
from rlm_graph.runs.building import Builder, model_of, open_agent, set_environment
from rlm_graph.runs.decisions import Verdict
from rlm_graph.runs.forks import copy
from rlm_graph.runs.job import Job, opened
from rlm_graph.runs.listing import Wanted, page, users_of
from rlm_graph.runs.live import LiveRun, Outcome, Watch
from rlm_graph.runs.notices import Notice
from rlm_graph.runs.standing import Continuation, Standing, beginning, continuation, question
from rlm_graph.runs.works import Entered, Works
from rlm_graph.settings import Settings
from rlm_graph.state import ContextRef
from rlm_graph.storage.locks import RecordLocation, alock_run, forget_lock
from rlm_graph.storage.runs import Page, Run, Runs, Status

if TYPE_CHECKING:
    from rlm_graph.runs.record import RunRecord

Changes = Mapping[str, Any]
"""Settings that hold in the place of those that a run is recorded with, nested as the settings are."""

_UNSEEN = Watch()


class RunService:
    """The runs of one database. `open` makes one.

    `start`, `resume`, `ask`, `fork` and `approve` return once the run is held and has its entry; it then goes on in a
    task of the service. What does not fit the run is raised before that and leaves the run as it was: `InputError`,
    `RunNotFoundError`, `SetupError`, or `RunHeldError` if somebody else is at work on it. Runs are named by their id,
    or by how it starts; the date may be left out. The failures of the database are `StorageError`.
    """

    def __init__(self, settings: Settings, runs: Runs, build: Builder = open_agent) -> None:
        self.settings = settings
        self._runs = runs
        self._build = build
        self._works = Works(runs)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, build: Builder = open_agent) -> AsyncIterator[RunService]:
        """Open the database that the settings name, for as long as the block lasts.

        Runs that are under way at its end are stopped; `drain` before lets their steps end. `build` makes the agent of
        each job. Raises `SetupError` if the database is to be encrypted and there is no key.
        """
        set_environment(settings)
        async with opened(settings) as runs:
            service = cls(settings, runs, build)
            try:
                yield service
            finally:
                await service._works.close()

    @property
    def place(self) -> str:
        """The database, as messages call it: its file, or the server's address without a password."""
        return str(self._runs.path)

    async def start(self, job: Job, *, source: str = "", id: str | None = None, watch: Watch = _UNSEEN) -> LiveRun:
        """Start a new run, under that id or a new one. `source` says what its context was taken from.

        Raises `InputError` if there is a run of that id, but for one that somebody is deleting and that is waited for.
        """

        if self._build is open_agent:  # which builds what the settings name
            warm_up(job.settings.executor)

        async def life(entered: Entered) -> Outcome:
            async with (
                self._build(job, self._runs.saver) as graph,
                AsyncExitStack() as held,
            ):  # what cannot be built leaves no run behind
                name = await self._runs.new_id() if id is None else id
                if watch.waiting is None:
                    await self._runs.check_new(name)
                # Held before it is entered: a run that nobody holds is taken for one whose process has died.
                await held.enter_async_context(self._held(name, watch))
                run = await self._enter(job, name, job.question, source)
                return await self._works.go_on(entered, graph, run, job, beginning, watch, Standing(name, {}))

        return await self._works.begin(life)

    async def resume(
        self, name: str, changes: Changes | None = None, *, verdict: Verdict | None = None, watch: Watch = _UNSEEN
    ) -> LiveRun:
        """Take a run up where it stood, under the larger budget that `changes` may give it.

        One that is done, or waits for approval and gets no verdict, is `idle`: its outcome is there at once.
        """
        return await self._take_up(name, changes, continuation(verdict), watch)

    async def approve(
        self, name: str, verdict: Verdict, changes: Changes | None = None, *, watch: Watch = _UNSEEN
    ) -> LiveRun:
        """Go on with a run that waits for approval, with what was decided. What was not decided on waits on."""
        return await self.resume(name, changes, verdict=verdict, watch=watch)

    async def ask(
        self,
        name: str,
        text: str,
        context: ContextRef | None = None,
        changes: Changes | None = None,
        *,
        watch: Watch = _UNSEEN,
    ) -> LiveRun:
        """Ask a run that has answered another question: its variables and its conversation are there."""
        return await self._take_up(name, changes, question(text, context), watch)

    async def fork(
        self,
        name: str,
        *,
        at: int | None = None,
        text: str | None = None,
        context: ContextRef | None = None,
        changes: Changes | None = None,
        id: str | None = None,
        watch: Watch = _UNSEEN,
    ) -> LiveRun:
        """Begin a new run where another one stood after turn `at`, by default at its end, and go on or ask it `text`.

        The new run is entered last: a copy that was cut off is no run.
        """
        source = await self._found(name)
        job = Job.of(source, self.settings, changes or {})

        async def life(entered: Entered) -> Outcome:
            async with self._build(job, self._runs.saver) as graph, AsyncExitStack() as held:
                target = await self._name_for_copy(id)
                async with self._held(source.id, watch):
                    await held.enter_async_context(self._held(target, _UNSEEN))
                    copied = replace(job, forked=await copy(graph, self._runs, source, target, at=at))
                    run = await self._enter(copied, target, text or source.question, source.source)
                goes_on = continuation() if text is None else question(text, context, anywhere=True)
                return await self._works.go_on(entered, graph, run, copied, goes_on, watch)

        return await self._works.begin(life)

    async def cancel(self, name: str, *, now: bool = False) -> LiveRun:
        """Stop a run that this service is at work on: after the step under way, or now. Its `outcome` tells the end.

        Raises `RunHeldError` if somebody else is at work on it, `InputError` if nobody is.
        """
        live = await self._at_work(name)
        if now:
            live.stop()
        else:
            live.drain()
        return live

    async def drain(self) -> None:
        """Let the steps under way end, of all runs that are at work here, and wait until the runs are booked."""
        await self._works.drain()

    async def delete(self, name: str, *, watch: Watch = _UNSEEN) -> tuple[str, ...]:
        """Delete a run for good, with everything that is its alone; return in words what could not be removed."""
        from rlm_graph.context.encrypted import contexts_of
        from rlm_graph.executors import create_executor
        from rlm_graph.runs.deletion import delete

        with self._works.storage_errors():
            run = await self._runs.get(name)
            asked = Job.of(run, self.settings, {}, reach="executors").settings
            async with self._held(run.id, watch) as place:
                left = await delete(
                    self._runs,
                    run,
                    executor=create_executor(asked.executor),
                    others=[create_executor(executor) for executor in asked.agent_executors],
                    contexts=contexts_of(self.settings),
                )
                forget_lock(place, run.id)
        self._works.forget(run.id)
        return left

    async def get(self, name: str | None = None) -> Run:
        """Return the run called `name`, or the one that was started last, as it is now: see `Runs.seen`."""
        with self._works.storage_errors():
            [run] = await self._runs.seen([await (self._runs.last() if name is None else self._runs.get(name))])
        return run

    async def record(self, name: str) -> RunRecord:
        """Return a run with its turns, its answer and what waits for approval."""
        run = await self.get(name)
        from rlm_graph.context.encrypted import contexts_of
        from rlm_graph.runs.record import record

        with self._works.storage_errors():
            return await record(self._runs, run, contexts_of(self.settings))

    async def list(
        self,
        *,
        status: Status | None = None,
        model: str | None = None,
        search: str | None = None,
        limit: int | None = 50,
        after: str | None = None,
    ) -> Page:
        """Return runs, the newest first: a page of them, of that status and model, with these words in the question."""
        with self._works.storage_errors():
            return await page(self._runs, Wanted(status, model, search), limit=limit, after=after)

    async def follow(self, name: str, since: int | None = None) -> AsyncIterator[Notice]:
        """Yield what a run of this service tells, from number `since` on, until its work has ended.

        Any number may follow; one who begins late, or again, reads first what was told before. What a run told is kept
        for a while after its end, in memory: as many notices as `feed.MAX_KEPT`, of as many runs as `works.MAX_FEEDS`.

        Raises `RunHeldError` if somebody else is at work on the run, `InputError` if nobody is and nothing is kept, or
        if what was told under the number is not.
        """
        id = (await self._found(name)).id
        feed = self._works.feed(id)
        if feed is None:
            await self._at_work(id)  # raises why there is none
            raise AssertionError(f"run {id} is at work and tells nothing")
        async for notice in feed.follow(since):
            yield notice

    async def check(self) -> int:
        """Return how many runs there are, once the database has been found whole. Raises `StorageError`."""
        with self._works.storage_errors():
            await self._runs.check()
            return await self._runs.count()

    async def users_of(self, repls: Sequence[str]) -> dict[str, str]:
        """Return the runs that use these REPLs, by the REPLs' names."""
        with self._works.storage_errors():
            return await users_of(self._runs, repls)

    # --- The work ---------------------------------------------------------------------------------------------------

    async def _take_up(self, name: str, changes: Changes | None, goes_on: Continuation, watch: Watch) -> LiveRun:
        found = await self._found(name)

        async def life(entered: Entered) -> Outcome:
            async with self._held(found.id, watch):
                run = await self._runs.get(found.id)  # whoever held it may have deleted it
                job = Job.of(run, self.settings, changes or {})
                async with self._build(job, self._runs.saver) as graph:
                    return await self._works.go_on(entered, graph, run, job, goes_on, watch)

        return await self._works.begin(life)

    def _held(self, id: str, watch: Watch) -> AbstractAsyncContextManager[RecordLocation]:
        return alock_run(self._runs.saver, id, waiting=watch.waiting)

    async def _enter(self, job: Job, id: str, text: str, source: str) -> Run:
        model = model_of(job.settings)
        return await self._runs.create(question=text, source=source, model=model, settings=job.record(), id=id)

    async def _name_for_copy(self, id: str | None) -> str:
        if id is None:
            return await self._runs.new_id()
        await self._runs.check_new(id)
        return id

    async def _at_work(self, name: str) -> LiveRun:
        """Return the run that is at work here. Raises `RunHeldError` if it is elsewhere, `InputError` if it is not."""
        run = await self.get(name)
        live = self._works.get(run.id)
        if live is not None:
            return live
        if run.status == "running":
            with self._works.storage_errors():
                async with self._held(run.id, _UNSEEN):  # raises, and names who holds it
                    pass
        raise InputError(f"nobody is at work on run {run.id}: it is {run.status}", hint=Hint("show_run", run.id))

    async def _found(self, name: str) -> Run:
        with self._works.storage_errors():
            return await self._runs.get(name)
