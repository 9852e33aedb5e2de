"""A host that keeps its run in PostgreSQL. Its arguments are the database's address, the folder of the run and whose
saver it keeps it by: `ours` or `langgraph`.

It starts the run, or takes it up where it stands, and prints the answer and the usage. Its model is in the same process
and writes each request to a file first, so that the count outlives it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from rlm_graph import AgentOptions, LocalSettings, create_rlm_agent
from rlm_graph.errors import RLMError
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.storage.postgres_saver import PipelinedPostgresSaver, open_writer
from rlm_graph.storage.postgres_writer import PostgresWriter
from rlm_graph.testing import ScriptedModel
from tests.faults.fuse import Fuse

CELLS = (
    "first = llm_query('one')\nanswers = llm_query_batched([f'part {n % 3}' for n in range(5)])",
    "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(4) as pool:\n"
    "    answers += list(pool.map(llm_query, ['the same'] * 4))",
    "FINAL_VAR([first, *answers, llm_query('last')])",
)
CONFIG: RunnableConfig = {"configurable": {"thread_id": "mine"}}


class _Watching(AsyncPostgresSaver):
    """Counts an event before and after each write."""

    fuse: Fuse

    async def aput(self, *args: Any, **options: Any) -> RunnableConfig:
        self.fuse.happened("before a checkpoint")
        config = await super().aput(*args, **options)
        self.fuse.happened("after a checkpoint")
        return config

    async def aput_writes(self, *args: Any, **options: Any) -> None:
        self.fuse.happened("before writes")
        await super().aput_writes(*args, **options)
        self.fuse.happened("after writes")


class Watched(_Watching, PipelinedPostgresSaver):
    """Our saver, watched."""


class WatchedOfLangGraph(_Watching):
    """LangGraph's own saver, watched."""


@asynccontextmanager
async def opened(uri: str, kind: str) -> AsyncIterator[_Watching]:
    """Open a saver, and make its tables."""
    async with WatchedOfLangGraph.from_conn_string(uri) as theirs:
        await theirs.setup()
        if kind == "langgraph":
            yield theirs  # type: ignore[misc]  # `from_conn_string` is said to return one of LangGraph's
            return
        async with open_writer(uri) as writer:

            async def its_writer() -> PostgresWriter:
                return writer

            connection: Any = theirs.conn
            yield Watched(connection, its_writer)


async def work(uri: str, folder: Path, kind: str) -> None:
    """Take the run to its end."""
    fuse = Fuse(folder)

    def marked(request: str, reply: str) -> str:
        with (folder / "requests").open("a") as file:
            file.write(json.dumps(request) + "\n")
        number = len((folder / "requests").read_text().splitlines())
        fuse.happened("request")
        return f"{reply} [#{number:06}]"

    def root(messages: Sequence[BaseMessage]) -> str:
        turn = [message.type for message in messages].count("ai")
        return marked(f"turn {turn}", f"```repl\n{CELLS[turn]}\n```\n")

    def sub(messages: Sequence[BaseMessage]) -> str:
        return marked(messages[-1].text, f"answer to {messages[-1].text}")

    async with opened(uri, kind) as saver:
        saver.fuse = fuse
        fuse.live()
        graph = create_rlm_agent(
            ScriptedModel(root),
            sub_model=ScriptedModel(sub, model="sub"),
            executor=LocalExecutor(LocalSettings(idle_timeout_s=60), folder=folder / "repls"),
            options=AgentOptions(contexts=folder / "contexts"),
            checkpointer=saver,
        )
        begun = await saver.aget_tuple(CONFIG) is not None
        result = await graph.ainvoke(None if begun else {"question": "What is it?", "context": "text"}, CONFIG)
    usage = result["usage"]
    print(json.dumps({"answer": result["answer"].value, "usage": [usage.turns, usage.subcalls, usage.output_tokens]}))


def main() -> None:
    """Do the work that the command line says."""
    try:
        asyncio.run(work(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
    except RLMError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
