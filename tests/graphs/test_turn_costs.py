"""What a turn costs, in counts: transactions, checkpoints, bytes of the database, messages that are looked at."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rlm_graph import Budget
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.storage.runs import Runs
from rlm_graph.testing import ScriptedExecutor
from rlm_graph.testing.cells import Final, Output
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


def cells(code: str) -> list[Any]:
    """Say what any cell does: it prints a line, or gives the answer."""
    return [Final(1)] if "FINAL" in code else [Output("a line")]


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    async with Runs.open(tmp_path / "runs.sqlite") as runs:
        yield runs


async def statements(runs: Runs) -> list[str]:
    """Return a list to which each statement of the connection that writes is added as it is executed."""
    said: list[str] = []
    await runs._database._writer.using(lambda connection: connection.set_trace_callback(said.append))  # type: ignore[attr-defined]  # SQLite's
    return said


async def run(agent: Build, runs: Runs, turns: int, reply: str = "n = 1") -> Any:
    graph = agent(
        [*[repl(reply)] * turns, repl("FINAL(1)")],
        checkpointer=runs.saver,
        executor=ScriptedExecutor(cells),
        budget=Budget(max_turns=turns + 1),
    )
    return await graph.ainvoke({"question": "Go.", "context": "text"}, CONFIG)


async def test_a_turn_whose_reply_comes_at_once_is_one_transaction(agent: Build, runs: Runs) -> None:
    said = await statements(runs)

    await run(agent, runs, 20)

    kinds = Counter(statement.partition(" (")[0] for statement in said)
    assert kinds["INSERT OR REPLACE INTO checkpoints"] == 3 + 3 * 21  # two of the input, three a turn, the end
    # The input, the end, and one a turn; a slow machine may take longer for a turn than writes are held.
    print(said.count("COMMIT"))
    assert said.count("COMMIT") <= 21 + 10


async def test_a_reply_is_on_disk_before_its_code_runs(agent: Build, runs: Runs, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class Looking(ScriptedExecutor):
        def attached(self, *given: Any, **options: Any) -> Any:
            with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as another:
                rows = another.execute("SELECT channel FROM writes ORDER BY rowid").fetchall()
            seen.append([channel for (channel,) in rows])
            return super().attached(*given, **options)

    graph = agent([repl("n = 1"), repl("n = 2"), repl("FINAL(1)")], checkpointer=runs.saver, executor=Looking(cells))
    await graph.ainvoke({"question": "Go."}, CONFIG)

    assert [channels.count("cells") for channels in seen] == [2, 4, 6]
    assert all(channels[-1] == "branch:to:act" for channels in seen)
