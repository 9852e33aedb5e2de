"""Copying a run for a fork: from which checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm_graph.errors import Hint, InputError
from rlm_graph.storage.runs import Run, Runs


async def copy(graph: Any, runs: Runs, source: Run, target: str, *, at: int | None) -> Mapping[str, Any]:
    """Copy `source` as it was after turn `at` (by default as it is) to the run `target`, which has no entry yet.

    The caller holds both: nobody deletes the source meanwhile. Returns what the new run is recorded with as its
    origin, `{"run", "turn"}`. Raises `InputError` if there is no such turn.
    """
    from rlm_graph.storage.copying import fork

    checkpoint, turn = await _stand(graph, source.id, at)
    await runs.saver.adelete_thread(target)  # what a copy that was cut off has left
    await fork(runs.saver, source.id, target, checkpoint_id=checkpoint)
    return {"run": source.id, "turn": turn}


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
        words = f"run {source} has no turn {at} to fork at: they go from 0 to {last or 0}"
        raise InputError(words, hint=Hint("show_run", source))
    return found, at or 0
