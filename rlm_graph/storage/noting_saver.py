"""Savers that note which contexts a run refers to before they write what refers to them; see `run_contexts.py`."""

from __future__ import annotations

from collections.abc import Sequence
from types import new_class
from typing import TYPE_CHECKING, Any, TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver

from rlm_graph.storage.database import ContextNotes

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata


class _NotesContexts(BaseCheckpointSaver[Any]):
    """What a saver does besides: it notes the contexts in what it is to write. The synchronous side comes here too."""

    contexts: ContextNotes

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        await self.contexts.note(config["configurable"]["thread_id"], checkpoint["channel_values"])
        return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self.contexts.note(config["configurable"]["thread_id"], [value for _, value in writes])
        await super().aput_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await super().adelete_thread(thread_id)
        await self.contexts.forget(thread_id)


S = TypeVar("S", bound=BaseCheckpointSaver[Any])


def noting_contexts(kind: type[S], contexts: ContextNotes) -> type[S]:
    """Return a class of savers that note the contexts in what they write."""
    noting: type[S] = new_class(f"Noting{kind.__name__}", (_NotesContexts, kind), exec_body=None)
    noting.contexts = contexts  # type: ignore[attr-defined]  # of `_NotesContexts`
    return noting
