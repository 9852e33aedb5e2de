"""The work on a run that is held: its graph is driven to an end, and the end is booked."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from rlm_graph.budget import Usage
from rlm_graph.errors import RLMError
from rlm_graph.runs.forks import own_usage
from rlm_graph.runs.job import Job
from rlm_graph.runs.live import LiveRun, Outcome
from rlm_graph.runs.notices import Begun, Ended, bodies
from rlm_graph.runs.standing import NOTHING, Standing, config_of
from rlm_graph.runs.story import last_question
from rlm_graph.storage.failures import database_errors
from rlm_graph.storage.runs import Run, Runs, Status


async def drive(graph: Any, runs: Runs, live: LiveRun, standing: Standing, given: Any, job: Job) -> Outcome:
    """Go on with the run from where it stands, with that input, and book how it ended.

    Whatever ends the work, the run is booked: as failed if it was an error, which is raised again.
    """
    if given is NOTHING:
        return await _book(runs, live.run, standing)
    try:
        live.tell(Begun(run=live.run.id, usage=own_usage(live.run, standing.state)))
        finished = await _work(graph, runs, live, given, job)
        if live.failure is not None:
            raise live.failure
        outcome = await _book(runs, live.run, await Standing.read(graph, live.run.id), finished=finished)
    except BaseException as error:
        usage = await _book_failure(graph, runs, live.run)
        words = error.problem if isinstance(error, RLMError) else str(error) or type(error).__name__
        hints = error.hints if isinstance(error, RLMError) else ()
        live.tell(Ended(status="failed", usage=usage, error=words, hints=hints))
        raise
    live.tell(Ended(status=outcome.run.status, usage=outcome.usage))
    if live.failure is not None:
        raise live.failure
    return outcome


async def _work(graph: Any, runs: Runs, live: LiveRun, given: Any, job: Job) -> bool:
    """Run the graph to its end; return False if it was interrupted. The run is booked as running once it is ours."""
    from langgraph.errors import GraphDrained

    begun = False
    modes = ["updates", "custom", *(["messages"] if live.tokens else [])]
    parts = graph.astream(given, config_of(live.run.id), stream_mode=modes, subgraphs=True, control=live.control)
    live.begin()
    try:
        async with aclosing(parts):
            async for part in parts:
                if not begun:
                    await runs.reopen(live.run.id, job.record())
                    begun = True
                for body in bodies(*part):
                    live.tell(body)
    except GraphDrained:
        return False
    except asyncio.CancelledError:
        if not live.stopped:
            raise
        return False
    finally:
        await live.rest()
    return True


async def _book(runs: Runs, run: Run, standing: Standing, *, finished: bool = True) -> Outcome:
    """Record how the run has ended. Work that was not finished was interrupted, whatever it has."""
    answer, waiting = standing.answer, standing.waiting
    status: Status = "interrupted"
    if finished and waiting:
        status, answer = "waiting", None
    elif finished and answer is not None:
        status, waiting = ("done" if answer.complete else "partial"), ()
    else:
        answer, waiting = None, ()
    usage = own_usage(run, standing.state)
    await runs.finish(run.id, status, usage)
    booked = run.model_copy(update={"status": status, "usage": usage})
    return Outcome(booked, last_question(standing.state, run.question), answer, usage, waiting)


async def _book_failure(graph: Any, runs: Runs, run: Run) -> Usage:
    usage = run.usage
    try:
        usage = own_usage(run, (await Standing.read(graph, run.id)).state)
        await runs.finish(run.id, "failed", usage)
    except (RLMError, *database_errors()):  # type: ignore[misc]
        pass  # the database itself is what failed: the error under way says so
    return usage
