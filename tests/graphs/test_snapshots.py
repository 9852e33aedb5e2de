"""What snapshots promise: a REPL comes back at a bounded cost, and does what a replayed one does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, Budget, LocalSettings, ModelError
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.executors.base import PastCell, Repl
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import SnapshotSettings
from rlm_graph.state import ReplHandle
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl
from tests.graphs.test_resume import Flaky, kill_workers

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
ALWAYS = SnapshotSettings(after_s=0)
NEVER = SnapshotSettings(max_bytes=1, after_s=0)


class WatchedRepl:
    """A REPL that notes what is asked of it."""

    def __init__(self, repl: Repl, ran: list[int], restored: list[int]) -> None:
        self._repl, self._ran, self._restored = repl, ran, restored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repl, name)

    async def run(self, cell: Any, *, number: int, **options: Any) -> Any:
        self._ran.append(number)
        return await self._repl.run(cell, number=number, **options)

    async def restore(self, snapshot: bytes, past: Sequence[PastCell]) -> bool:
        done = await self._repl.restore(snapshot, past)
        self._restored.append(past[-1].number if done else 0)
        return done


class WatchedExecutor(LocalExecutor):
    def __init__(self, folder: Path) -> None:
        super().__init__(LocalSettings(idle_timeout_s=60), folder=folder)
        self.ran: list[int] = []
        self.restored: list[int] = []

    @contextlib.asynccontextmanager
    async def attached(self, handle: ReplHandle | None, **options: Any) -> AsyncIterator[Any]:  # type: ignore[override]  # a stand-in
        async with super().attached(handle, **options) as repl:
            yield WatchedRepl(repl, self.ran, self.restored)


@pytest.fixture
def executor(tmp_path: Path) -> WatchedExecutor:
    return WatchedExecutor(tmp_path / "repls")


def snapshots(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "snapshots").glob("*"))


CELLS = [
    "said = []\ndef ask(text):\n    said.append(llm_query(text))\n    return len(said)",
    "same = said\nask('a'); ask('a')",
    "ask(context[:4])\nimport random\ndice = random.random()",
    "import statistics\nmean = statistics.mean(range(len(context)))",
]
END = "same.append(ask('b'))\nFINAL([said, same is said, dice, mean, random.random(), SHOW_VARS()])"


async def lost_after(
    agent: Build, executor: WatchedExecutor, cells: Sequence[str], kept: SnapshotSettings | None
) -> tuple[RLMGraph, list[str]]:
    """Run cells, one a turn, until the provider is down; then lose the REPL."""
    asked: list[str] = []

    def sub(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        return f"{messages[-1].text}{len(asked)}"

    root = ScriptedModel(Flaky([*map(repl, cells), repl(END)], down_at=[len(cells) + 1]))
    graph = agent(
        root,
        sub=sub,
        checkpointer=InMemorySaver(),
        executor=executor,
        options=AgentOptions(snapshots=kept or SnapshotSettings()),
        budget=Budget(max_turns=20),
    )
    with pytest.raises(ModelError, match="down"):
        await graph.ainvoke({"question": "Go.", "context": "some text"}, CONFIG)
    kill_workers(executor)
    executor.ran.clear()
    return graph, asked


async def test_a_repl_from_a_snapshot_gives_the_same_answer_as_a_replayed_one(
    agent: Build, executor: WatchedExecutor, tmp_path: Path
) -> None:
    answers = []
    for kept in (ALWAYS, NEVER):
        graph, asked = await lost_after(agent, executor, CELLS, kept)
        assert len(snapshots(tmp_path)) == (2 if kept is ALWAYS else 0)
        result = await graph.ainvoke(None, CONFIG)
        answers.append(result["answer"].value)
        assert asked == ["a", "a", "some", "b"]
        assert executor.ran == ([5] if kept is ALWAYS else [1, 2, 3, 4, 5])
        executor.ran.clear()

    assert answers[0] == answers[1]
    assert answers[0][0][:3] == ["a1", "a2", "some3"]
    assert executor.restored == [4]


async def test_a_restored_repl_is_told_to_the_model(agent: Build, executor: WatchedExecutor) -> None:
    root = ScriptedModel(Flaky([repl("x = 1"), repl("print(x)"), repl("FINAL(x)")], down_at=[2]))
    graph = agent(root, checkpointer=InMemorySaver(), executor=executor, options=AgentOptions(snapshots=ALWAYS))
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "Go."}, CONFIG)
    kill_workers(executor)

    result = await graph.ainvoke(None, CONFIG)

    assert "restarted; your variables are back" in root.calls[-1][-1].text
    assert result["answer"].value == 1


async def test_what_is_replayed_is_bounded_by_what_the_cells_since_the_snapshot_cost(
    agent: Build, executor: WatchedExecutor, tmp_path: Path
) -> None:
    cells = [CELLS[0], *["import time\ntime.sleep(0.2)", "n = 1"] * 4, *CELLS[1:]]

    graph, _ = await lost_after(agent, executor, cells, SnapshotSettings(after_s=0.15))
    await graph.ainvoke(None, CONFIG)

    assert executor.restored == [8]
    assert executor.ran == [9, 10, 11, 12, 13]


async def test_cheap_cells_are_not_copied_and_nothing_is_left_of_a_run_that_ended(
    agent: Build, executor: WatchedExecutor, tmp_path: Path
) -> None:
    graph, _ = await lost_after(agent, executor, CELLS, None)
    assert not (tmp_path / "snapshots").exists()
    await graph.ainvoke(None, CONFIG)

    graph, _ = await lost_after(agent, WatchedExecutor(tmp_path / "others"), CELLS, ALWAYS)
    assert snapshots(tmp_path)
    await graph.ainvoke(None, CONFIG)

    assert snapshots(tmp_path) == []


async def test_a_snapshot_that_cannot_be_used_is_dropped_and_the_cells_run_again(
    agent: Build, executor: WatchedExecutor, tmp_path: Path
) -> None:
    graph, asked = await lost_after(agent, executor, CELLS, ALWAYS)
    for path in snapshots(tmp_path):
        path.write_bytes(b"damaged")

    result = await graph.ainvoke(None, CONFIG)

    assert executor.restored == [0, 0]
    assert executor.ran == [1, 2, 3, 4, 5]
    assert result["answer"].value[0][:3] == ["a1", "a2", "some3"]
    assert asked == ["a", "a", "some", "b"]


async def test_only_its_user_can_read_a_snapshot(agent: Build, executor: WatchedExecutor, tmp_path: Path) -> None:
    await lost_after(agent, executor, CELLS, ALWAYS)

    assert {path.stat().st_mode & 0o777 for path in snapshots(tmp_path)} == {0o600}
    assert (tmp_path / "snapshots").stat().st_mode & 0o777 == 0o700
    assert not any(b"some text" in path.read_bytes() for path in snapshots(tmp_path))


async def test_values_that_cannot_be_copied_are_replayed(
    agent: Build, executor: WatchedExecutor, tmp_path: Path
) -> None:
    cells = ["numbers = (n for n in range(9))\nnext(numbers)", *CELLS]

    graph, _ = await lost_after(agent, executor, cells, ALWAYS)
    assert snapshots(tmp_path) == []
    await graph.ainvoke(None, CONFIG)

    assert executor.ran == [1, 2, 3, 4, 5, 6]
