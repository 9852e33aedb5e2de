"""How a step of a run is recorded, which only its node knows: what of it must be on disk before the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, Protocol, cast, runtime_checkable

from langchain_core.runnables import RunnableConfig

from rlm_graph.langgraph_internals import checkpointer_of, loop_of, namespace_of, task_of

StepRecord = Literal["whole", "repeatable"]
"""`whole`: what the step has written may go to the disk with the checkpoint that follows at once, and the run goes on
when both are there. `repeatable`: that checkpoint may go to the disk with what the run writes next, for the step costs
nothing if it is taken again: a question to a model, or code that runs, always comes after such a write."""


@runtime_checkable
class RecordsSteps(Protocol):
    """What a saver may be besides: one that makes use of a `StepRecord`."""

    def expect(self, task: str, record: StepRecord) -> None:
        """Say how what the task will write is to be kept."""

    async def settle(self, thread: str) -> None:
        """Have all on disk that was given so far of the thread."""


def expect(config: RunnableConfig, record: StepRecord) -> None:
    """Tell the saver of the run how the step that got this config is to be recorded, if it makes use of that."""
    saver: object = checkpointer_of(config)
    if isinstance(saver, RecordsSteps):
        saver.expect(task_of(namespace_of(config)), record)


@asynccontextmanager
async def recorded_to_the_end(saver: object, config: RunnableConfig) -> AsyncIterator[None]:
    """Have all that the run recorded within the block on disk when it is left, however it is left."""
    try:
        yield
    finally:
        if isinstance(saver, RecordsSteps):
            await saver.settle(str(config["configurable"].get("thread_id", "")))


@contextmanager
def blocking_to_the_end(saver: object, config: RunnableConfig) -> Iterator[None]:
    """Do what `recorded_to_the_end` does, on another thread than the event loop of the saver.

    On the thread of that loop no synchronous call can record anything, and says so.
    """
    loop = loop_of(cast(Any, saver)) if isinstance(saver, RecordsSteps) else None
    try:
        yield
    finally:
        here = asyncio._get_running_loop()
        if isinstance(saver, RecordsSteps) and loop is not None and loop is not here and loop.is_running():
            thread = str(config["configurable"].get("thread_id", ""))
            asyncio.run_coroutine_threadsafe(saver.settle(thread), loop).result()
