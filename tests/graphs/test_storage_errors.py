"""A database that fails under the graph is one kind of error, which loses nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, StorageError
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
PAUSED = AgentOptions(interrupt_before=["act"])

pytestmark = pytest.mark.confinement


@contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.close()


@pytest.mark.parametrize("trouble", ["locked", "full"])
async def test_a_run_goes_on_when_its_database_can_be_written_again(agent: Build, tmp_path: Path, trouble: str) -> None:
    path = tmp_path / "runs.sqlite"
    asked: list[str] = []
    async with aiosqlite.connect(path, timeout=0.05) as connection:

        def sub(messages: Any) -> str:
            asked.append(messages[-1].text)
            return "answer"

        graph = agent([repl("x = llm_query('once')"), repl("FINAL(x)")], sub=sub,
                      checkpointer=AsyncSqliteSaver(connection), options=PAUSED)  # fmt: skip
        await graph.ainvoke({"question": "Go."}, CONFIG)
        if trouble == "locked":
            with locked(path), pytest.raises(StorageError, match="another process holds the database; try again"):
                await graph.ainvoke(None, CONFIG)
        else:
            await connection.execute("PRAGMA max_page_count = 1")
            with pytest.raises(StorageError, match="no space is left for the database; free some"):
                await graph.ainvoke(None, CONFIG)
            await connection.execute("PRAGMA max_page_count = 1000000")

        await graph.ainvoke(None, CONFIG)
        result = await graph.ainvoke(None, CONFIG)

    assert result["answer"].value == "answer"
    assert len(asked) <= 2  # one whose answer could not be written is under way
    assert result["usage"].subcalls == 1


def test_it_is_the_same_under_invoke(agent: Build, tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    connection = sqlite3.connect(path, check_same_thread=False, timeout=0.05)
    graph = agent([repl("FINAL(1)")], checkpointer=SqliteSaver(connection), options=PAUSED)
    graph.invoke({"question": "Go."}, CONFIG)

    with locked(path), pytest.raises(StorageError, match="another process holds the database"):
        graph.invoke(None, CONFIG)

    assert graph.invoke(None, CONFIG)["answer"].value == 1
    connection.close()


@pytest.mark.parametrize(("content", "words"), [(b"my notes, " * 1000, "not a database"), (None, "is damaged")])
async def test_a_file_that_cannot_be_read_is_left_as_it_is(
    agent: Build, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "runs.sqlite"
    if content is None:
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            await agent([repl("FINAL(1)")], checkpointer=saver).ainvoke({"question": "Go."}, CONFIG)
        data = bytearray(path.read_bytes())
        data[4096:] = os.urandom(len(data) - 4096)
        content = bytes(data)
    path.write_bytes(content)
    model = ScriptedModel([repl("FINAL(1)")])

    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        with pytest.raises(StorageError, match=words):
            await agent(model, checkpointer=saver).ainvoke({"question": "Go."}, CONFIG)

    assert path.read_bytes() == content
    assert model.calls == []
