"""Deletion: a run leaves with everything that is its alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from rlm_graph.context import ContextStore
from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors.base import Executor, repl_name
from rlm_graph.executors.sandbox_owners import ListsSandboxes
from rlm_graph.langgraph_internals import namespace_of, namespace_parts, node_of, step_namespace
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.state import ContextRef, ReplHandle, Turn
from rlm_graph.storage.runs import Run, Runs

T = TypeVar("T")


async def delete(
    runs: Runs, run: Run, *, executor: Executor, others: Sequence[Executor] = (), contexts: ContextStore
) -> tuple[str, ...]:
    """Delete a run that the caller holds: its REPLs, the contexts that no other run refers to, its records.

    `others` are the executors of its specialists. Its entry goes last: a deletion that was cut off can be made again.
    Returns in words what could not be removed.
    """
    kept = [value async for value in _values(runs.saver, run)]
    handles, begun = {handle.id: handle for handle in _found(kept, ReplHandle)}, await _begun(runs, run)
    left = [words for each in (executor, *others) for words in await _close(each, handles, begun)]
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
    return tuple(left)


async def _close(executor: Executor, handles: Mapping[str, ReplHandle], begun: Collection[str]) -> tuple[str, ...]:
    """End the REPLs whose handles were recorded, and those that were begun and whose handles were not."""
    try:
        found = await executor.sandboxes() if begun and isinstance(executor, ListsSandboxes) else ()
        unrecorded = {sandbox.handle.id: sandbox.handle for sandbox in found if sandbox.handle.id in begun}
        for handle in {**unrecorded, **handles}.values():
            if handle.kind == executor.kind:
                await executor.close(handle)
    except (ExecutorError, SetupError) as error:
        return (f"its REPL could not be ended ({error}); it ends by itself when nobody uses it",)
    return ()


async def _begun(runs: Runs, run: Run) -> set[str]:
    """Return the names of the REPLs that acts may have started which have not ended."""
    names = set()
    namespaces = {namespace_of(kept.config) async for kept in runs.saver.alist(_thread(run))}
    for namespace in namespaces:
        if namespace and node_of(namespace_parts(namespace)[-1]) != "recurse":
            continue  # a call, not an agent
        for task in (await runs.snapshot(run.id, namespace)).tasks:
            if task.name == "act":
                names.add(repl_name(run.id, step_namespace(namespace, "act", task.id)))
    return names


async def _values(saver: BaseCheckpointSaver[Any], run: Run) -> AsyncIterator[Any]:
    """Yield everything that is recorded of a run and of what it called, from all of its past."""
    context = run.settings.get("context")
    if isinstance(context, dict):
        yield ContextRef.model_validate(context)
    async for kept in saver.alist(_thread(run)):
        yield kept.checkpoint["channel_values"]
        yield [value for _, _, value in kept.pending_writes or ()]


def _thread(run: Run) -> RunnableConfig:
    return {"configurable": {"thread_id": run.id}}


def _found(value: Any, kind: type[T]) -> Iterator[T]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _found(part, kind)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _found(part, kind)
