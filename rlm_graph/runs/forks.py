"""Copying a run for a fork: from which checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm_graph.budget import Usage
from rlm_graph.errors import Hint, InputError
from rlm_graph.storage.runs import Run, Runs


async def copy(graph: Any, runs: Runs, source: Run, target: str, *, at: int | None) -> Mapping[str, Any]:
    """Copy `source` as it was after turn `at` (by default as it is) to the run `target`, which has no entry yet.

    The caller holds both: nobody deletes the source meanwhile. Returns what the new run is recorded with as its
    origin, `{"run", "turn", "usage", "asked"}`: what had been spent there on the question that was worked on. Raises
    `InputError` if there is no such turn.
    """
    from rlm_graph.storage.copying import fork

    checkpoint, turn, state = await _stand(graph, source.id, at)
    await runs.saver.adelete_thread(target)  # what a copy that was cut off has left
    await fork(runs.saver, source.id, target, checkpoint_id=checkpoint)
    usage = state.get("usage", Usage()).model_dump(mode="json")
    return {"run": source.id, "turn": turn, "usage": usage, "asked": state.get("asked")}


def own_usage(run: Run, state: Mapping[str, Any]) -> Usage:
    """Return what was spent by the run itself: of a fork, without what its source had spent on the same question."""
    usage: Usage = state.get("usage", run.usage)
    forked = run.settings.get("forked")
    if not isinstance(forked, dict) or "usage" not in forked or forked.get("asked") != state.get("asked"):
        return usage  # another question starts the count anew
    before = Usage.model_validate(forked["usage"])
    counted = [name for name in Usage.model_fields if name != "peak_memory_bytes"]
    return usage.model_copy(update={name: max(getattr(usage, name) - getattr(before, name), 0) for name in counted})


async def _stand(graph: Any, source: str, at: int | None) -> tuple[str | None, int, Mapping[str, Any]]:
    """Return the checkpoint right after that turn (None for the last one), the turn's number, and the state there."""
    found: str | None = None
    last: int | None = None
    state: Mapping[str, Any] = {}
    async for snapshot in graph.aget_state_history({"configurable": {"thread_id": source}}):
        turns = len(snapshot.values.get("turns", ()))
        last = turns if last is None else last
        if at is None:
            return None, turns, snapshot.values
        # Newest first: the last that is seen is the first that had so many turns.
        if turns == at and snapshot.values.get("messages"):
            found, state = snapshot.config["configurable"]["checkpoint_id"], snapshot.values
    if at is not None and found is None:
        words = f"run {source} has no turn {at} to fork at: they go from 0 to {last or 0}"
        raise InputError(words, hint=Hint("show_run", source))
    return found, at or 0, state
