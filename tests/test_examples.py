"""The examples run, and show what they say."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import Answer, ContextStore

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def contexts(tmp_path: Path) -> ContextStore:
    return ContextStore(tmp_path / "contexts")


async def test_a_pipeline_retrieves_asks_the_agent_and_reviews(contexts: ContextStore) -> None:
    example = load("pipeline")
    pipeline = example.build(example.scripted(), contexts, InMemorySaver())

    result = await pipeline.ainvoke({"topic": "NaN"}, CONFIG)

    assert result["verdict"] == "accepted"
    assert result["finding"].startswith("decoder.py says most on it")


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()], ids=["unrecorded", "recorded"])
def test_as_a_subgraph_it_shares_keys_with_the_larger_graph(contexts: ContextStore, checkpointer: Any) -> None:
    example = load("subgraph")
    graph = example.build(example.scripted(), contexts, checkpointer)

    result = graph.invoke({"messages": [("human", "How many lines?")]}, CONFIG)

    lines = len((EXAMPLES / "subgraph.py").read_text().splitlines())
    assert [message.type for message in result["messages"]] == ["human", "ai", "ai"]
    assert type(result["answer"]) is Answer
    assert result["answer"].text == f"{lines} lines"
    assert result["messages"][-1].text == f"(en, {len(str(lines)) + 6} characters)"


async def test_as_a_tool_it_answers_another_agent(contexts: ContextStore) -> None:
    example = load("tool")
    caller, agent = example.scripted()
    asked = example.corpus_tool(agent, contexts, EXAMPLES / "tool.py")

    result = await example.build(caller, asked, InMemorySaver()).ainvoke(
        {"messages": [("human", "Who wrote the corpus?")]}, CONFIG
    )

    tool_reply = result["messages"][2]
    assert tool_reply.type == "tool"
    assert tool_reply.text == "nobody in particular"


@pytest.mark.parametrize("name", ["pipeline", "public", "subgraph", "tool"])
def test_an_example_runs_without_a_key(name: str) -> None:
    ran = subprocess.run([sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True, timeout=120)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
