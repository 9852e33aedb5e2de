"""Copying a run for a fork: from which checkpoint, and under which name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rlm_graph.errors import InputError, RunHeldError
from rlm_graph.runs.job import Job, model_of
from rlm_graph.storage.runs import Run, Runs, new_id


async def copy(
    graph: Any,
    runs: Runs,
    source: Run,
    job: Job,
    *,
    at: int | None,
    id: str | None,
    question: str | None,
    waiting: Callable[[RunHeldError], None] | None,
) -> tuple[Run, Job]:
    """Copy `source` as it was after turn `at` (by default as it is) to a new run; return that and its job.

    The source is held meanwhile, so that nobody deletes it. The new run is entered last: a copy that was cut off is no
    run.
    """
    from rlm_graph.storage.copying import fork
    from rlm_graph.storage.locks import alock_run

    taken = {run.id for run in await runs.all()}
    if id in taken:
        raise InputError(f"there is a run {id} already; choose another name for the fork")
    while id is None or id in taken:
        id = new_id()
    async with alock_run(runs.saver, source.id, waiting=waiting), alock_run(runs.saver, id):
        checkpoint, turn = await _stand(graph, source.id, at)
        await runs.saver.adelete_thread(id)  # what a copy that was cut off has left
        await fork(runs.saver, source.id, id, checkpoint_id=checkpoint)
        job = replace(job, forked={"run": source.id, "turn": turn})
        begun = await runs.create(
            question=question or source.question,
            source=source.source,
            model=model_of(job.settings),
            settings=job.record(),
            id=id,
        )
    return begun, job


async def _stand(graph: Any, source: str, at: int | None) -> tuple[str | None, int]:
    """Return the checkpoint right after that turn (None for the last one), and the turn's number."""
    found, last = None, None
    async for snapshot in graph.aget_state_history({"configurable": {"thread_id": source}}):
        turns = len(snapshot.values.get("turns", ()))
        last = turns if last is None else last
        if at is None:
            return None, turns
        # Newest first: the last that is seen is the first that had so many turns.
        if turns == at and snapshot.values.get("messages"):
            found = snapshot.config["configurable"]["checkpoint_id"]
    if at is not None and found is None:
        raise InputError(f"run {source} has no turn {at} to fork at; give --at a number from 0 to {last or 0}")
    return found, at or 0
