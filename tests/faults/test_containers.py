"""A container is killed in the middle of a cell: a clear error, and the run goes on in another one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, ContextStore, ExecutorError, create_rlm_agent
from rlm_graph.executors import create_executor
from rlm_graph.settings import DockerSettings
from rlm_graph.testing import ScriptedModel

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

CONFIG: Any = {"configurable": {"thread_id": "a run"}}
CELLS = (
    "import random\ndice = random.random()\nfirst = llm_query('one')",
    "second = llm_query('two')\nthird = llm_query('three')",
    "FINAL([first, second, third, dice, len(context)])",
)


def is_there(container: str) -> bool:
    """Whether the container exists, running or not."""
    command = ["docker", "ps", "--all", "--quiet", "--filter", f"id={container}"]
    return bool(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


async def test_what_was_answered_before_is_not_asked_again(docker_image: str, tmp_path: Path) -> None:
    asked: list[str] = []
    doomed: list[str] = []

    def sub(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        if asked == ["one", "two", "three"]:
            subprocess.run(["docker", "kill", *doomed], check=True, capture_output=True, timeout=60)
        return f"answer {len(asked)}"

    def root(messages: Sequence[BaseMessage]) -> str:
        return f"```repl\n{CELLS[sum(message.type == 'ai' for message in messages)]}\n```"

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = create_rlm_agent(
            ScriptedModel(root), sub_model=ScriptedModel(sub, model="sub"), checkpointer=saver,
            options=AgentOptions(contexts=ContextStore(tmp_path / "contexts"), interrupt_after=["act"]),
            executor=create_executor(DockerSettings(image=docker_image, pull=False, idle_timeout_s=60)),
            )  # fmt: skip
        await graph.ainvoke({"question": "Go.", "context": "text"}, CONFIG)
        doomed.append((await graph.aget_state(CONFIG)).values["repl"].address)
        with pytest.raises(ExecutorError) as failed:
            await graph.ainvoke(None, CONFIG)

        await graph.ainvoke(None, CONFIG)
        another = (await graph.aget_state(CONFIG)).values["repl"].address
        await graph.ainvoke(None, CONFIG)
        result = await graph.ainvoke(None, CONFIG)

    assert another not in doomed
    assert "\n" not in str(failed.value)
    *answers, dice, size = result["answer"].value
    assert answers == ["answer 1", "answer 2", "answer 3"]
    assert (0 < dice < 1, size) == (True, 4)
    assert asked == ["one", "two", "three"]
    assert result["usage"].subcalls == 3
    assert not is_there(another)
