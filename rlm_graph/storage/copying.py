"""Forking: a new run that begins where another one stood at some step."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointTuple

from rlm_graph.errors import Hint, RunNotFoundError
from rlm_graph.langgraph_internals import allowing, checkpoint_config, namespace_of
from rlm_graph.state import STORED_TYPES


async def fork(saver: BaseCheckpointSaver[Any], source: str, target: str, *, checkpoint_id: str | None = None) -> None:
    """Copy the run `source`, up to one of its checkpoints (by default the last), to the new run `target`.

    The copy has the records of the source's sub-calls too, so its REPL can be rebuilt without asking a model. It does
    not name the source's REPL: two runs never share one. The source is only read. Needs a saver's asynchronous side.
    Raises `RunNotFoundError` if there is no such checkpoint.
    """
    saver = allowing(saver, STORED_TYPES)
    chain = await _chain(saver, source, checkpoint_id)
    for index, kept in enumerate(chain):
        await _copy(saver, kept, target, last=index == len(chain) - 1)
    # Read whole before the first is written: a saver may hold its lock while it lists.
    for child in [found async for found in saver.alist({"configurable": {"thread_id": source}})]:
        if namespace_of(child.config):
            await _copy(saver, child, target)


async def _chain(saver: BaseCheckpointSaver[Any], source: str, checkpoint_id: str | None) -> list[CheckpointTuple]:
    """Return the checkpoints that lead to one, the oldest first."""
    config: RunnableConfig | None = checkpoint_config(source, checkpoint=checkpoint_id)
    chain: list[CheckpointTuple] = []
    while config is not None and (found := await saver.aget_tuple(config)) is not None:
        chain.append(found)
        config = found.parent_config
    if not chain:
        raise RunNotFoundError(f"run {source} has no such checkpoint", hint=Hint("show_run", source))
    return chain[::-1]


async def _copy(saver: BaseCheckpointSaver[Any], kept: CheckpointTuple, target: str, *, last: bool = False) -> None:
    parent = None if kept.parent_config is None else kept.parent_config["configurable"]["checkpoint_id"]
    below = checkpoint_config(target, namespace_of(kept.config), parent)
    values = {key: value for key, value in kept.checkpoint["channel_values"].items() if key != "repl"}
    checkpoint: Checkpoint = {**kept.checkpoint, "channel_values": values}
    versions = {
        channel: version
        for channel, version in checkpoint["channel_versions"].items()
        if channel in checkpoint["channel_values"] or channel == "repl"
    }
    stored = await saver.aput(below, checkpoint, kept.metadata, versions)
    if last:
        return  # what was written on top of it belongs to the source's future
    for task in dict.fromkeys(task for task, _, _ in kept.pending_writes or ()):
        writes = [(channel, value) for writer, channel, value in kept.pending_writes or ()
                  if writer == task and channel != "repl"]  # fmt: skip
        await saver.aput_writes(stored, writes, task)
