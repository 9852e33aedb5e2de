"""A host that is to be killed: runs an agent that calls tools, or takes its run up again, and prints the answer."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, create_rlm_agent
from rlm_graph.settings import ModelSettings


async def main(folder: Path, url: str) -> None:
    async def search(query: str) -> str:
        """Look something up, and note that it was asked."""
        with (folder / "asked").open("a") as file:
            file.write(f"{query}\n")
        return f"found {query}"

    async with AsyncSqliteSaver.from_conn_string(str(folder / "runs.sqlite")) as saver:
        agent = create_rlm_agent(
            "openai/gpt-4o-mini",
            options=AgentOptions(
                protocol="tools", contexts=folder / "contexts", models=ModelSettings(base_url=url, profile="standard")
            ),
            tools=[search],
            checkpointer=saver,
        )
        config: Any = {"configurable": {"thread_id": "a run"}}
        begun = (await agent.aget_state(config)).values
        result = await agent.ainvoke(None if begun else {"question": "?", "context": "text"}, config)
        print(result["answer"].text, result["usage"].subcalls, result["usage"].turns, sep="\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
