"""One run under the command line: started or taken up again, watched, interrupted, and reported."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from rlm_graph.budget import Budget, Usage
from rlm_graph.cli.approvals import Verdict, show
from rlm_graph.cli.exits import Exit
from rlm_graph.cli.interrupts import Interrupts
from rlm_graph.cli.output import Output
from rlm_graph.cli.printing import say, waiting
from rlm_graph.cli.progress import Progress
from rlm_graph.cli.streaming import Streamed
from rlm_graph.errors import InputError, RLMError, SetupError
from rlm_graph.runs.answer_form import form_of
from rlm_graph.runs.job import Job, model_of, opened, prepare
from rlm_graph.settings import Settings
from rlm_graph.state import Answer, ContextRef
from rlm_graph.storage.runs import Run, Runs

Continuation = Callable[[Any, Mapping[str, Any], Mapping[str, Any], Job], Awaitable[Any]]
"""Makes the graph's input of the graph, the config, the state and the job."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for now or for good. Without an answer it was interrupted."""

    run: Run
    answer: Answer | None
    usage: Usage
    waiting: tuple[Any, ...] = ()
    """The interrupts that wait for approval."""

    def report(self, output: Output) -> Exit:
        """Give out the answer, or say how to go on; return how the command ends."""
        if self.waiting:
            show(self.run.id, self.waiting, output)
            return Exit.WAITING
        if self.answer is None:
            say(f"interrupted; go on: rlm-graph resume {self.run.id}")
            return Exit.INTERRUPTED
        return output.report(self.run, self.answer, self.usage)


def start(job: Job, *, source: str, id: str | None, output: Output, wait: bool = False) -> Exit:
    """Run `job` under a new id. With `wait`, that of a run which another process is deleting just now is new too."""

    async def started() -> Outcome:
        from rlm_graph.storage.locks import alock_run

        async with opened(job.settings) as runs, AsyncExitStack() as stack:
            graph = await stack.enter_async_context(_graph(job, runs))  # what cannot be built leaves no run behind
            name = await runs.new_id() if id is None else id
            if not wait:
                await runs.check_new(name)
            # Held before it is entered: a run that nobody holds is taken for one whose process has died.
            await stack.enter_async_context(alock_run(runs.saver, name, waiting=waiting if wait else None))
            run = await runs.create(
                question=job.question, source=source, model=model_of(job.settings), settings=job.record(), id=name
            )
            with Interrupts() as interrupts:
                return await _booked(graph, runs, run, job, output, interrupts, _beginning)

    return asyncio.run(started()).report(output)


def resume(
    name: str | None,
    settings: Settings,
    flags: Mapping[str, Any],
    output: Output,
    *,
    verdict: Verdict | None = None,
    wait: bool = False,
) -> Exit:
    """Take up the run called `name`, or the last one, under the larger budget that `flags` may give it."""
    run = _found(name, settings)
    job = Job.of(run, settings, flags)
    return _take_up(run, job, output, partial(_continuation, verdict=verdict), wait=wait)


def ask(
    name: str,
    question: str,
    context: ContextRef | None,
    settings: Settings,
    flags: Mapping[str, Any],
    output: Output,
    *,
    wait: bool = False,
) -> Exit:
    """Ask the run called `name` another question: its variables and its conversation are there."""
    run = _found(name, settings)
    job = Job.of(run, settings, flags)
    return _take_up(run, job, output, partial(_question, question=question, context=context), wait=wait)


def fork(
    name: str,
    at: int | None,
    question: str | None,
    context: ContextRef | None,
    settings: Settings,
    flags: Mapping[str, Any],
    output: Output,
    *,
    id: str | None = None,
    wait: bool = False,
) -> Exit:
    """Begin a new run where the run called `name` stood after a turn, and go on, or ask it another question."""
    source = _found(name, settings)
    job = Job.of(source, settings, flags)
    prepare(job.settings)

    async def forked() -> Outcome:
        from rlm_graph.runs.forks import copy

        async with opened(job.settings) as runs, AsyncExitStack() as stack:
            graph = await stack.enter_async_context(_graph(job, runs))
            begun, copied = await copy(
                graph, runs, source, job, at=at, id=id, question=question, waiting=waiting if wait else None
            )
            output.say(f"run {begun.id}: a fork of {source.id} after turn {copied.forked_at}")
            goes_on = _continuation if question is None else partial(_another, question=question, context=context)
            return await _carry_out(graph, runs, begun, copied, output, goes_on)

    return asyncio.run(forked()).report(output)


def _found(name: str | None, settings: Settings) -> Run:
    async def found() -> Run:
        async with opened(settings) as runs:
            return await (runs.last() if name is None else runs.get(name))

    return asyncio.run(found())


def _take_up(run: Run, job: Job, output: Output, continuation: Continuation, *, wait: bool) -> Exit:
    prepare(job.settings)

    async def taken_up() -> Outcome:
        async with opened(job.settings) as runs, AsyncExitStack() as stack:
            graph = await stack.enter_async_context(_graph(job, runs))
            return await _carry_out(graph, runs, run, job, output, continuation, wait=wait)

    return asyncio.run(taken_up()).report(output)


async def _carry_out(
    graph: Any, runs: Runs, run: Run, job: Job, output: Output, continuation: Continuation, *, wait: bool = False
) -> Outcome:
    """Hold the run and go on with it, with the input that `continuation` makes of its state."""
    from rlm_graph.storage.locks import alock_run

    async with alock_run(runs.saver, run.id, waiting=waiting if wait else None):
        await runs.get(run.id)  # whoever held it may have deleted it
        with Interrupts() as interrupts:
            return await _booked(graph, runs, run, job, output, interrupts, continuation)


async def _booked(
    graph: Any, runs: Runs, run: Run, job: Job, output: Output, interrupts: Interrupts, continuation: Continuation
) -> Outcome:
    try:
        return await _drive(graph, runs, run, job, output, interrupts, continuation)
    except Refused:
        raise  # nothing was begun
    except RLMError as error:
        await _finish(runs, run, "failed")
        if not isinstance(error, InputError | SetupError):
            say(f"what was done is saved; go on: rlm-graph resume {run.id}")
        raise
    except BaseException:
        await _finish(runs, run, "failed")
        raise


async def _drive(
    graph: Any, runs: Runs, run: Run, job: Job, output: Output, interrupts: Interrupts, continuation: Continuation
) -> Outcome:
    from rlm_graph.calls.subcalls import LOCKED

    config = {"configurable": {"thread_id": run.id, LOCKED: True}}
    earlier = await runs.state(run.id)
    given = await continuation(graph, config, earlier, job)
    finished = given is _NOTHING or await _watch(
        graph, given, config, Progress(output, earlier.get("usage", Usage())), interrupts,
        streamed=Streamed(as_json=output.json) if output.stream else None,
        begun=lambda: runs.reopen(run.id, job.record()),
    )  # fmt: skip
    state = await runs.state(run.id)
    usage, answer = state.get("usage", Usage()), state.get("answer")
    if finished and (asked := (await graph.aget_state(config)).interrupts):
        await runs.finish(run.id, "waiting", usage)
        return Outcome(run, None, usage, tuple(asked))
    if not finished or not isinstance(answer, Answer):
        await runs.finish(run.id, "interrupted", usage)
        return Outcome(run, None, usage)
    await runs.finish(run.id, "done" if answer.complete else "partial", usage)
    return Outcome(run, answer, usage)


async def _watch(
    graph: Any,
    given: Any,
    config: Mapping[str, Any],
    progress: Progress,
    interrupts: Interrupts,
    *,
    streamed: Streamed | None,
    begun: Callable[[], Awaitable[None]],
) -> bool:
    """Run the graph to its end; return False if it was interrupted. `begun` is called once the run is ours."""
    from langgraph.errors import GraphDrained

    first = True
    modes = ["updates"] if streamed is None else ["updates", "custom", "messages"]
    try:
        with progress.shown():
            async for namespace, mode, told in graph.astream(
                given, config, stream_mode=modes, subgraphs=True, control=interrupts.control
            ):
                if first:
                    await begun()
                    first = False
                if mode == "updates":
                    progress.event(namespace, told)
                elif streamed is not None and mode == "custom":
                    streamed.event(told)
                elif streamed is not None:
                    streamed.token(*told)
    except GraphDrained:
        return False
    except asyncio.CancelledError:
        if not interrupts.cancelled:
            raise
        return False
    return True


@asynccontextmanager
async def _graph(job: Job, runs: Runs) -> AsyncIterator[Any]:
    """Build the run's graph; the servers of its tools, and its memory, are open as long as it is at work."""
    from rlm_graph.agents.create import create_rlm_agent
    from rlm_graph.agents.options import AgentOptions
    from rlm_graph.agents.specialists import specs_from
    from rlm_graph.context.encrypted import contexts_of
    from rlm_graph.memory.store import opened_store
    from rlm_graph.models import cache_of
    from rlm_graph.tools.registry import open_tools

    settings = job.settings
    remembers = settings.memory.enabled
    async with AsyncExitStack() as stack:
        tools, agents = stack.enter_context(open_tools(settings.tools)), stack.enter_context(specs_from(settings))
        store = await stack.enter_async_context(opened_store(settings)) if remembers else None
        yield create_rlm_agent(
            model_of(settings),
            sub_model=settings.sub_model,
            executor=settings.executor,
            budget=settings.budget,
            tools=tools,
            subagents=agents,
            response_format=form_of(job.schema),
            interrupt_on=job.approve,
            memory=settings.memory if remembers else None,
            store=store,
            checkpointer=runs.saver,
            cache=cache_of(settings),
            options=AgentOptions(
                models=settings.models,
                caps=settings.caps,
                contexts=contexts_of(settings),
                snapshots=settings.snapshots,
                protocol=settings.protocol,
                retrieval=settings.tools.retrieval,
            ),
        )


_NOTHING = object()
"""There is nothing left to do: the run has its answer."""


class Refused(InputError):
    """What the user asked for does not fit the run as it stands, which stays as it was."""


async def _beginning(graph: Any, config: Mapping[str, Any], state: Mapping[str, Any], job: Job) -> Any:
    """Return the input that starts the run."""
    return job.given


async def _question(
    graph: Any,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    job: Job,
    *,
    question: str,
    context: ContextRef | None,
) -> Any:
    """Return the input that asks another question."""
    snapshot, run = await graph.aget_state(config), config["configurable"]["thread_id"]
    if snapshot.next or snapshot.tasks or not state:
        raise Refused(f"run {run} has not answered yet; `rlm-graph resume {run}` goes on with it")
    return await _another(graph, config, state, job, question=question, context=context)


async def _another(
    graph: Any,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    job: Job,
    *,
    question: str,
    context: ContextRef | None,
) -> Any:
    """Return the input that asks another question, wherever the run stands."""
    given = {"question": question, "context": context, "budget": job.settings.budget}
    return {key: value for key, value in given.items() if value is not None}


async def _continuation(
    graph: Any, config: Mapping[str, Any], state: Mapping[str, Any], job: Job, *, verdict: Verdict | None = None
) -> Any:
    """Return the input that takes the run up where it stood."""
    from langgraph.types import Command

    snapshot = await graph.aget_state(config)
    if verdict is not None and not snapshot.interrupts:
        run = config["configurable"]["thread_id"]
        raise Refused(f"run {run} waits for no approval; `rlm-graph resume {run}` goes on with it")
    # A step whose tasks have all ended, while no checkpoint holds it yet, has tasks and no `next`.
    pending = bool(snapshot.next or snapshot.tasks)
    if not state and not pending:
        return job.given  # it was stopped before its first checkpoint
    budget, answer = job.settings.budget, state.get("answer")
    larger = budget != state.get("budget")
    if snapshot.interrupts:
        if verdict is None:
            return _NOTHING
        try:
            return verdict.command(snapshot.interrupts, {"budget": budget} if larger else None)
        except InputError as error:
            raise Refused(str(error)) from error
    if pending:
        # The update joins the checkpoint that is there. A new one would give the step under way another name, and the
        # calls recorded under its old name would be made again.
        return Command(update={"budget": budget}) if larger else None
    if not isinstance(answer, Answer) or answer.ceiling is None or not larger or budget.exceeded(state["usage"]):
        return _NOTHING
    await _reopen(graph, config, budget)
    return None


async def _reopen(graph: Any, config: Mapping[str, Any], budget: Budget) -> None:
    """Take the answer back, so that the run goes round again: as if its finalize had found it wanting."""
    update = {"budget": budget, "answer": None, "final": None, "ceiling": None}
    await graph.aupdate_state(config, update, as_node="finalize")


async def _finish(runs: Runs, run: Run, status: Any) -> None:
    import sqlite3

    driver = sys.modules.get("psycopg")
    failures = (sqlite3.Error, RLMError, *((driver.Error,) if driver else ()))
    try:
        state = await runs.state(run.id)
        await runs.finish(run.id, status, state.get("usage", Usage()))
    except failures:
        return  # the database itself is what failed: the error under way says so
