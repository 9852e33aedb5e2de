"""What a run promises of the REPL that it stays attached to from turn to turn."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import LocalSettings
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.state import ReplHandle
from tests.faults.processes import children_of, supervisors_of, wait_until
from tests.graphs.conftest import repl
from tests.graphs.test_resume import kill_workers

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
COUNTING = [repl("n = 0"), *[repl("n += 1")] * 5, repl("FINAL(n)")]


class CountingExecutor(LocalExecutor):
    """Counts how often somebody attaches, and how many are attached now."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalSettings(idle_timeout_s=60), folder=folder)
        self.attaches = self.attached_now = 0

    @contextlib.asynccontextmanager
    async def attached(self, handle: ReplHandle | None, **options: Any) -> AsyncIterator[Any]:  # type: ignore[override]  # a stand-in
        async with super().attached(handle, **options) as repl:
            self.attaches += 1
            self.attached_now += 1
            try:
                yield repl
            finally:
                self.attached_now -= 1


@pytest.fixture
def executor(tmp_path: Path) -> CountingExecutor:
    return CountingExecutor(tmp_path / "repls")


async def test_a_run_attaches_to_its_repl_once(agent: Build, executor: CountingExecutor) -> None:
    result = await agent(COUNTING, executor=executor).ainvoke({"question": "Go.", "context": "text"})

    assert result["answer"].value == 5
    assert (executor.attaches, executor.attached_now) == (1, 0)


def test_a_run_under_invoke_attaches_to_its_repl_once(agent: Build, executor: CountingExecutor) -> None:
    graph = agent(COUNTING, checkpointer=InMemorySaver(), executor=executor)

    assert graph.invoke({"question": "Go."}, CONFIG)["answer"].value == 5
    assert (executor.attaches, executor.attached_now) == (1, 0)


async def test_each_agent_attaches_to_its_own_repl_once(agent: Build, executor: CountingExecutor) -> None:
    root = [repl("n = 1"), repl("m = int(rlm_query('How many?'))"), repl("FINAL(n + m)")]

    result = await agent(root, sub=COUNTING, executor=executor).ainvoke({"question": "Go."})

    assert result["answer"].value == 6
    assert (executor.attaches, executor.attached_now) == (2, 0)


async def test_a_repl_that_is_lost_while_the_model_thinks_is_rebuilt(agent: Build, executor: CountingExecutor) -> None:
    replies = list(COUNTING)

    def root(messages: Sequence[BaseMessage]) -> str:
        if len(replies) == 3:
            kill_workers(executor)
        return replies.pop(0)

    result = await agent(root, executor=executor).ainvoke({"question": "Go.", "context": "text"})

    assert result["answer"].value == 5
    assert executor.attaches == 2


async def test_a_worker_that_ends_while_the_model_thinks_is_noticed(agent: Build, executor: CountingExecutor) -> None:
    replies = [repl("n = 5"), repl("n"), repl("FINAL([n, context])")]

    def root(messages: Sequence[BaseMessage]) -> str:
        if len(replies) == 1:
            [supervisor] = supervisors_of(executor._base().iterdir())
            [worker] = children_of(supervisor)
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: children_of(supervisor) not in ([], [worker]))
        return replies.pop(0)

    result = await agent(root, executor=executor).ainvoke({"question": "Go.", "context": "text"})

    assert result["answer"].value == [5, "text"]
    assert executor.attaches == 2


async def test_nobody_is_attached_once_a_stream_was_left(agent: Build, executor: CountingExecutor) -> None:
    graph = agent(COUNTING, checkpointer=InMemorySaver(), executor=executor)
    stream: Any = graph.astream({"question": "Go."}, CONFIG, stream_mode="updates")
    acts = 0
    async for part in stream:
        acts += "act" in part
        if acts == 3:
            assert executor.attached_now == 1
            break
    await stream.aclose()

    assert executor.attached_now == 0
    assert (await graph.ainvoke(None, CONFIG))["answer"].value == 5
    assert (executor.attaches, executor.attached_now) == (2, 0)


async def test_nobody_is_attached_while_a_run_waits_for_a_human(agent: Build, executor: CountingExecutor) -> None:
    graph = agent(
        [repl("n = 1"), repl("m = llm_query('?')")],
        checkpointer=InMemorySaver(),
        executor=executor,
        interrupt_on="subcalls",
    )

    result = await graph.ainvoke({"question": "Go."}, CONFIG)

    assert result["__interrupt__"]
    assert executor.attached_now == 0
