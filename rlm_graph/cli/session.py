"""One run under the command line: started or taken up again, watched, interrupted, and reported."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_graph.budget import Usage
from rlm_graph.cli.exits import Exit
from rlm_graph.cli.interrupts import Interrupts
from rlm_graph.cli.output import Output
from rlm_graph.cli.printing import say
from rlm_graph.cli.progress import Progress
from rlm_graph.errors import InputError, RLMError, RunHeldError, SetupError
from rlm_graph.runs import Run, Runs
from rlm_graph.settings import Settings
from rlm_graph.state import Answer, ContextRef

KEPT = {"model", "sub_model", "executor", "models"}
"""The settings that a run is recorded with, and that hold when it is taken up again."""


@dataclass(frozen=True)
class Job:
    """A run as it was asked for: all that is needed to start it, now or again."""

    question: str
    settings: Settings
    context: ContextRef | None = None
    schema: Mapping[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """Return the form in which the database keeps it."""
        return {
            "settings": self.settings.model_dump(mode="json", include=KEPT),
            # Which ceilings were set matters as much as their values: a default one refuses no unpriced model.
            "budget": self.settings.budget.model_dump(mode="json", exclude_unset=True),
            "context": self.context.model_dump(mode="json") if self.context else None,
            "schema": dict(self.schema) if self.schema else None,
        }

    @classmethod
    def of(cls, run: Run, settings: Settings, flags: Mapping[str, Any]) -> Job:
        """Return the job that `run` was started with, but for what `flags` says now.

        `settings` are those of this command: where data lies is not the run's, but this machine's.
        """
        from rlm_graph.layers import overlaid

        record: dict[str, Any] = dict(run.settings)
        kept = overlaid({**record["settings"], "budget": record["budget"]}, flags)
        here = settings.model_dump(exclude=KEPT | {"budget"})
        context = record["context"]
        return cls(
            question=run.question,
            settings=Settings.checked({**kept, **here}),
            context=ContextRef.model_validate(context) if context else None,
            schema=record["schema"],
        )

    @property
    def given(self) -> dict[str, Any]:
        """The graph's input."""
        given = {"question": self.question, "context": self.context, "budget": self.settings.budget}
        return {key: value for key, value in given.items() if value is not None}


def take(sources: Sequence[str], settings: Settings, output: Output) -> ContextRef | None:
    """Take the context in from the paths, URLs and `-` (standard input) that the user named, and say what was done."""
    import sys

    from rlm_graph.context import ContextStore
    from rlm_graph.context.fetch import is_url

    if not sources:
        return None
    if sources.count("-") > 1:
        raise InputError("-c - was given twice; standard input can be read once")
    contexts = [sys.stdin.buffer if source == "-" else source if is_url(source) else Path(source) for source in sources]
    store = ContextStore(settings.data_dir / "contexts", settings.contexts)
    reference = store.combine(contexts)
    for note in reference.notes:
        output.say(f"context: {note}")
    return reference


def start(job: Job, *, source: str, id: str | None, output: Output) -> Exit:
    """Run `job` under a new id."""

    async def started() -> Exit:
        async with Runs.open(job.settings.db) as runs:
            graph = _graph(job, runs)  # what cannot be built leaves no run behind
            run = await runs.create(
                question=job.question, source=source, model=model(job.settings), settings=job.record(), id=id
            )
            return await _carry_out(graph, runs, run, job, output, fresh=True)

    return asyncio.run(started())


def resume(name: str | None, settings: Settings, flags: Mapping[str, Any], output: Output) -> Exit:
    """Take up the run called `name`, or the last one, under the larger budget that `flags` may give it."""

    async def found() -> Run:
        async with Runs.open(settings.db) as runs:
            return await (runs.last() if name is None else runs.get(name))

    run = asyncio.run(found())
    job = Job.of(run, settings, flags)
    prepare(job.settings)

    async def resumed() -> Exit:
        async with Runs.open(settings.db) as runs:
            return await _carry_out(_graph(job, runs), runs, run, job, output, fresh=False)

    return asyncio.run(resumed())


def model(settings: Settings) -> str:
    """Return the root model's name. Raises `SetupError` if none is set."""
    if settings.model is None:
        raise SetupError("no model: give -m NAME, set RLM_MODEL, or write `model` into rlm.toml (`rlm-graph init`)")
    return settings.model


def prepare(settings: Settings) -> None:
    """Set up what imports read, and refuse a model that cannot be asked before anything is recorded."""
    tracing = str(settings.tracing).lower()
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ[name] = tracing
    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
    from rlm_graph.models import check_model

    check_model(model(settings), settings.models)
    if settings.sub_model is not None:
        check_model(settings.sub_model, settings.models)


async def _carry_out(graph: Any, runs: Runs, run: Run, job: Job, output: Output, *, fresh: bool) -> Exit:
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
) -> Exit:
    config = {"configurable": {"thread_id": run.id}}
    earlier = {} if fresh else await runs.state(run.id)
    given = job.given if fresh else _continuation(earlier, await graph.aget_state(config), job)
    finished = given is _NOTHING or await _watch(
        graph, given, config, Progress(output, earlier.get("usage", Usage())), interrupts,
        begun=lambda: runs.reopen(run.id, job.record()),
    )  # fmt: skip
    state = await runs.state(run.id)
    usage, answer = state.get("usage", Usage()), state.get("answer")
    if not finished or not isinstance(answer, Answer):
        await runs.finish(run.id, "interrupted", usage)
        say(f"interrupted; go on: rlm-graph resume {run.id}")
        return Exit.INTERRUPTED
    await runs.finish(run.id, "done" if answer.complete else "partial", usage)
    return output.report(run, answer, usage)


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
        model(settings),
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


def _continuation(state: Mapping[str, Any], snapshot: Any, job: Job) -> Any:
    """Return the input that takes the run up where it stood."""
    from langgraph.types import Command

    if not state and not snapshot.next:
        return job.given  # it was stopped before its first checkpoint
    budget, answer = job.settings.budget, state.get("answer")
    larger = budget != state.get("budget")
    if snapshot.next:
        # The update joins the checkpoint that is there. A new one would give the step under way another name, and the
        # calls recorded under its old name would be made again.
        return Command(update={"budget": budget}) if larger else None
    if not isinstance(answer, Answer) or answer.ceiling is None or not larger or budget.met(state["usage"]):
        return _NOTHING
    reopened = {"budget": budget, "answer": None, "final": None, "ceiling": None}
    return Command(update=reopened, goto="observe")


async def _finish(runs: Runs, run: Run, status: Any) -> None:
    import sqlite3

    try:
        state = await runs.state(run.id)
        await runs.finish(run.id, status, state.get("usage", Usage()))
    except (sqlite3.Error, RLMError):
        return  # the database itself is what failed: the error under way says so
