"""Runs the engine as a user of the library does, with its own saver or another."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rlm_graph import AgentOptions, Budget, Caps, ContextStore, ModelSettings, create_rlm_agent
from rlm_graph.executors.base import Executor

SAVERS = ("ours", "langgraph", "none")


@asynccontextmanager
async def saver(kind: str, folder: Path) -> AsyncIterator[Any]:
    """Open a saver on an SQLite file in the folder: the one of the database of runs, LangGraph's own, or none."""
    file = folder / "runs.sqlite"
    if kind == "ours":
        from rlm_graph.storage.runs import Runs

        async with Runs.open(file) as runs:
            yield runs.saver
    elif kind == "langgraph":
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(str(file)) as opened:
            yield opened
    else:
        yield None


def prepare() -> None:
    """Set what a provider on loopback needs of the environment."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    os.environ.setdefault("OPENAI_API_KEY", "none")


@asynccontextmanager
async def postgres_saver(kind: str, address: str) -> AsyncIterator[Any]:
    """Open a saver on a PostgreSQL server: the one of the database of runs, or LangGraph's own."""
    if kind == "ours":
        from rlm_graph.storage.runs import Runs

        async with Runs.open(address) as runs:
            yield runs.saver
    else:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        async with AsyncPostgresSaver.from_conn_string(address) as opened:
            await opened.setup()
            yield opened


def run(url: str, turns: int, kind: str, *, batch_loops: bool = True) -> int:
    """Answer a question in so many turns. Return the bytes of the database."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(_answered(folder, url, turns, kind, batch_loops=batch_loops))
        return sum(file.stat().st_size for file in folder.glob("runs.sqlite*"))


async def _answered(folder: Path, url: str, turns: int, kind: str, *, batch_loops: bool) -> None:
    async with saver(kind, folder) as opened:
        await answer(agent(opened, folder, url, turns, batch_loops=batch_loops), "a run")


def agent(
    opened: Any, folder: Path, url: str, turns: int, executor: Executor | None = None, *, batch_loops: bool = True
) -> Any:
    """Make an agent that may take so many turns, and that keeps contexts in the folder."""
    prepare()
    return create_rlm_agent(
        "openai/root",
        sub_model="openai/sub",
        checkpointer=opened,
        **({} if executor is None else {"executor": executor}),
        budget=Budget(max_turns=turns + 5, max_subcalls=None, timeout_s=None),
        options=AgentOptions(
            caps=Caps(max_turns=None, max_subcalls=None, timeout_s=None),
            models=ModelSettings(base_url=url, batch_loops=batch_loops),
            contexts=ContextStore(folder / "contexts"),
        ),
    )


async def answer(agent: Any, thread: str) -> None:
    """Have the agent answer a question in a run of that name."""
    config: Any = {"configurable": {"thread_id": thread}}
    result = await agent.ainvoke({"question": "Go.", "context": "abc"}, config)
    assert result["answer"].complete, result["answer"]
