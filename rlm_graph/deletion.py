"""Deletion: a run leaves with everything that is its alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from rlm_graph.context import ContextStore
from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors.base import Executor
from rlm_graph.runs import Run, Runs
from rlm_graph.snapshots import SnapshotStore
from rlm_graph.state import ContextRef, ReplHandle, Turn

T = TypeVar("T")


async def delete(runs: Runs, run: Run, *, executor: Executor, contexts: ContextStore) -> tuple[str, ...]:
    """Delete a run that the caller holds: its REPLs, the contexts that no other run refers to, its records.

    Its entry goes last: a deletion that was cut off can be made again. Returns in words what could not be removed.
    """
    kept = [value async for value in _values(runs.saver, run)]
    left = await _close(executor, {handle.id: handle for handle in _found(kept, ReplHandle)}.values())
    own = {ref.sha256: ref for ref in _found(kept, ContextRef)}
    for other in await runs.all():
        if not own:
            break
        if other.id != run.id:
            async for value in _values(runs.saver, other):
                for ref in _found(value, ContextRef):
                    own.pop(ref.sha256, None)
    SnapshotStore(contexts.root.parent / "snapshots").forget(list(_found(kept, Turn)))
    for ref in own.values():
        contexts.forget(ref)
    await runs.delete(run.id)
    return left


async def _close(executor: Executor, handles: Iterable[ReplHandle]) -> tuple[str, ...]:
    for handle in handles:
        try:
            await executor.close(handle)
        except (ExecutorError, SetupError) as error:
            return (f"its REPL could not be ended ({error}); it ends by itself when nobody uses it",)
    return ()


async def _values(saver: BaseCheckpointSaver[Any], run: Run) -> AsyncIterator[Any]:
    """Yield everything that is recorded of a run and of what it called, from all of its past."""
    context = run.settings.get("context")
    if isinstance(context, dict):
        yield ContextRef.model_validate(context)
    config: RunnableConfig = {"configurable": {"thread_id": run.id}}
    async for kept in saver.alist(config):
        yield kept.checkpoint["channel_values"]
        yield [value for _, _, value in kept.pending_writes or ()]


def _found(value: Any, kind: type[T]) -> Iterator[T]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _found(part, kind)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _found(part, kind)
