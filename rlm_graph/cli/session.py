"""One run under the command line: started or taken up again, watched, interrupted, and reported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlm_graph.budget import Budget, Usage
from rlm_graph.cli.exits import Exit
from rlm_graph.cli.interrupts import Interrupts
from rlm_graph.cli.job import Job, model_of, prepare
from rlm_graph.cli.output import Output
from rlm_graph.cli.printing import say
from rlm_graph.cli.progress import Progress
from rlm_graph.errors import InputError, RLMError, RunHeldError, SetupError
from rlm_graph.runs import Run, Runs
from rlm_graph.settings import Settings
from rlm_graph.state import Answer


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for now or for good. Without an answer it was interrupted."""

    run: Run
    answer: Answer | None
    usage: Usage

    def report(self, output: Output) -> Exit:
        """Give out the answer, or say how to go on; return how the command ends."""
        if self.answer is None:
            say(f"interrupted; go on: rlm-graph resume {self.run.id}")
            return Exit.INTERRUPTED
        return output.report(self.run, self.answer, self.usage)


def start(job: Job, *, source: str, id: str | None, output: Output) -> Exit:
    """Run `job` under a new id."""

    async def started() -> Outcome:
        async with Runs.open(job.settings.db) as runs:
            graph = _graph(job, runs)  # what cannot be built leaves no run behind
            run = await runs.create(
                question=job.question, source=source, model=model_of(job.settings), settings=job.record(), id=id
            )
            return await _carry_out(graph, runs, run, job, output, fresh=True)

    return asyncio.run(started()).report(output)


def resume(name: str | None, settings: Settings, flags: Mapping[str, Any], output: Output) -> Exit:
    """Take up the run called `name`, or the last one, under the larger budget that `flags` may give it."""

    async def found() -> Run:
        async with Runs.open(settings.db) as runs:
            return await (runs.last() if name is None else runs.get(name))

    run = asyncio.run(found())
    job = Job.of(run, settings, flags)
    prepare(job.settings)

    async def resumed() -> Outcome:
        async with Runs.open(settings.db) as runs:
            return await _carry_out(_graph(job, runs), runs, run, job, output, fresh=False)

    return asyncio.run(resumed()).report(output)


async def _carry_out(graph: Any, runs: Runs, run: Run, job: Job, output: Output, *, fresh: bool) -> Outcome:
    with Interrupts() as interrupts:
        try:
            return await _drive(graph, runs, run, job, output, interrupts, fresh=fresh)
        except RunHeldError:
            raise  # the process that holds it keeps the books
        except RLMError as error:
            await _finish(runs, run, "failed")
            if not isinstance(error, InputError | SetupError):
                say(f"what was done is saved; go on: rlm-graph resume {run.id}")
            raise
        except BaseException:
            await _finish(runs, run, "failed")
            raise


async def _drive(
    graph: Any, runs: Runs, run: Run, job: Job, output: Output, interrupts: Interrupts, *, fresh: bool
) -> Outcome:
    config = {"configurable": {"thread_id": run.id}}
    earlier = {} if fresh else await runs.state(run.id)
    given = job.given if fresh else await _continuation(graph, config, earlier, job)
    finished = given is _NOTHING or await _watch(
        graph, given, config, Progress(output, earlier.get("usage", Usage())), interrupts,
        begun=lambda: runs.reopen(run.id, job.record()),
    )  # fmt: skip
    state = await runs.state(run.id)
    usage, answer = state.get("usage", Usage()), state.get("answer")
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
    begun: Callable[[], Awaitable[None]],
) -> bool:
    """Run the graph to its end; return False if it was interrupted. `begun` is called once the run is ours."""
    from langgraph.errors import GraphDrained

    first = True
    try:
        with progress.shown():
            async for namespace, update in graph.astream(
                given, config, stream_mode="updates", subgraphs=True, control=interrupts.control
            ):
                if first:
                    await begun()
                    first = False
                progress.event(namespace, update)
    except GraphDrained:
        return False
    except asyncio.CancelledError:
        if not interrupts.cancelled:
            raise
        return False
    return True


def _graph(job: Job, runs: Runs) -> Any:
    from rlm_graph.context import ContextStore
    from rlm_graph.graphs.agent import create_rlm_agent

    settings = job.settings
    return create_rlm_agent(
        model_of(settings),
        sub_model=settings.sub_model,
        executor=settings.executor,
        budget=settings.budget,
        response_format=job.schema,
        checkpointer=runs.saver,
        settings=settings.models,
        contexts=ContextStore(settings.data_dir / "contexts", settings.contexts),
    )


_NOTHING = object()
"""There is nothing left to do: the run has its answer."""


async def _continuation(graph: Any, config: Mapping[str, Any], state: Mapping[str, Any], job: Job) -> Any:
    """Return the input that takes the run up where it stood."""
    from langgraph.types import Command

    snapshot = await graph.aget_state(config)
    # A step whose tasks have all ended, while no checkpoint holds it yet, has tasks and no `next`.
    pending = bool(snapshot.next or snapshot.tasks)
    if not state and not pending:
        return job.given  # it was stopped before its first checkpoint
    budget, answer = job.settings.budget, state.get("answer")
    larger = budget != state.get("budget")
    if pending:
        # The update joins the checkpoint that is there. A new one would give the step under way another name, and the
        # calls recorded under its old name would be made again.
        return Command(update={"budget": budget}) if larger else None
    if not isinstance(answer, Answer) or answer.ceiling is None or not larger or budget.met(state["usage"]):
        return _NOTHING
    await _reopen(graph, config, budget)
    return None


async def _reopen(graph: Any, config: Mapping[str, Any], budget: Budget) -> None:
    """Take the answer back, so that the run goes round again: as if its finalize had found it wanting."""
    from rlm_graph.locks import aplace_of, held

    lock = held(await aplace_of(graph.checkpointer), config["configurable"]["thread_id"])
    await asyncio.to_thread(lock.__enter__)
    try:
        update = {"budget": budget, "answer": None, "final": None, "ceiling": None}
        await graph.aupdate_state(config, update, as_node="finalize")
    finally:
        lock.__exit__(None, None, None)


async def _finish(runs: Runs, run: Run, status: Any) -> None:
    import sqlite3

    try:
        state = await runs.state(run.id)
        await runs.finish(run.id, status, state.get("usage", Usage()))
    except (sqlite3.Error, RLMError):
        return  # the database itself is what failed: the error under way says so
