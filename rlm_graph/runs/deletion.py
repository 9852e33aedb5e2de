"""Deletion: a run leaves with everything that is its alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from rlm_graph.context import ContextStore
from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors.base import Executor, repl_name
from rlm_graph.executors.sandbox_owners import ListsSandboxes
from rlm_graph.langgraph_internals import namespace_of, namespace_parts, node_of, step_namespace
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.state import ContextRef, ReplHandle, Turn
from rlm_graph.storage.data_folder import snapshots_beside
from rlm_graph.storage.run_contexts import instances_in
from rlm_graph.storage.runs import Run, Runs

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


async def delete(
    runs: Runs, run: Run, *, executor: Executor, others: Sequence[Executor] = (), contexts: ContextStore
) -> tuple[str, ...]:
    """Delete a run that the caller holds: its REPLs, the contexts that no other run refers to, its records.

    `others` are the executors of its specialists. Its entry goes last: a deletion that was cut off can be made again.
    Returns in words what could not be removed.
    """
    kept = [value async for value in runs.recorded(run)]
    handles, begun = {handle.id: handle for handle in instances_in(kept, ReplHandle)}, await _begun(runs, run)
    left = [words for each in (executor, *others) for words in await _close(each, handles, begun)]
    own = await runs.unshared(run, instances_in(kept, ContextRef))
    SnapshotStore(snapshots_beside(contexts.root)).forget(list(instances_in(kept, Turn)))
    for ref in own:
        contexts.forget(ref)
    await runs.delete(run.id)
    return tuple(left)


async def _close(executor: Executor, handles: Mapping[str, ReplHandle], begun: Collection[str]) -> tuple[str, ...]:
    """End the REPLs whose handles were recorded, and those that were begun and whose handles were not."""
    try:
        listed = await executor.sandboxes() if begun and isinstance(executor, ListsSandboxes) else ()
        unrecorded = {sandbox.handle.id: sandbox.handle for sandbox in listed if sandbox.handle.id in begun}
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


def _thread(run: Run) -> RunnableConfig:
    return {"configurable": {"thread_id": run.id}}
