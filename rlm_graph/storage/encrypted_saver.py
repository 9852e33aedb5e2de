"""PostgreSQL's saver, made to put every value of a state through its serializer."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

from rlm_graph.storage.postgres_saver import PipelinedPostgresSaver

WRAPPED = "__rlm_graph_wrapped"


class EncryptedPostgresSaver(PipelinedPostgresSaver):
    """Keeps texts and numbers as blobs, as it does all other values.

    Else they would be written as they are into a JSONB column, past the serializer, so encryption would not reach them.
    """

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        values = {key: _wrapped(value) for key, value in checkpoint["channel_values"].items()}
        return await super().aput(config, {**checkpoint, "channel_values": values}, metadata, new_versions)

    def _load_blobs(self, blob_values: list[tuple[bytes, bytes, bytes]]) -> dict[str, Any]:
        loaded: dict[str, Any] = super()._load_blobs(blob_values)
        return {key: _unwrapped(value) for key, value in loaded.items()}


def _wrapped(value: Any) -> Any:
    return {WRAPPED: value} if isinstance(value, str | int | float) else value


def _unwrapped(value: Any) -> Any:
    return value[WRAPPED] if isinstance(value, dict) and value.keys() == {WRAPPED} else value
