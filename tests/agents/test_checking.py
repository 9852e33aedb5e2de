"""An argument that cannot be used is refused when the agent is made, with what to give instead."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.memory import InMemoryStore

from rlm_graph import AgentOptions, AgentSpec, MemorySettings, SetupError, create_rlm_agent
from rlm_graph.testing import ScriptedModel

create: Any = create_rlm_agent
MODEL = ScriptedModel([])

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model: give a name such as 'openai/gpt-5' or a chat model, not None"),
    ({"model": ""}, "model: give a name"),
    ({"model": MODEL.bind(stop=["x"])}, "is a chat model with something bound to it; give the chat model itself"),
    ({"model": MODEL.with_retry()}, "retries are AgentOptions"),
    ({"sub_model": []}, "sub_model: the list is empty"),
    ({"sub_model": [None]}, "sub_model: give a name"),
    ({"tools": "search"}, "tools: give a list of tools, not 'search'"),
    ({"tools": print}, "tools: give a list of tools, not the function print"),
    ({"tools": [5]}, "5"),
    ({"system_prompt": 5}, "system_prompt: give a text"),
    ({"executor": None}, "executor: give a kind such as 'local'"),
    ({"executor": "locl"}, "'locl' is none of"),
    ({"subagents": [AgentSpec()]}, "subagents: give a dict of AgentSpec by name"),
    ({"subagents": {"a": AgentSpec(model=5)}}, "agent a: model: give a name"),  # type: ignore[arg-type]
    ({"budget": 5}, "budget: give a Budget"),
    ({"budget": {"max_turn": 5}}, "did you mean max_turns"),
    ({"response_format": 5}, "response_format"),
    ({"interrupt_on": "codes", "checkpointer": InMemorySaver()}, "interrupt_on: give 'code', 'subcalls'"),
    ({"interrupt_on": "code"}, "interrupt_on: a run that waits for a human needs a checkpointer"),
    ({"interrupt_on": {"code": True}}, "interrupt_on: a run that waits for a human needs a checkpointer"),
    ({"interrupt_on": "code", "checkpointer": False}, "needs a checkpointer"),
    ({"options": AgentOptions(interrupt_before=["act"])}, "interrupt_before: a run that waits"),
    ({"memory": MemorySettings()}, "memory: notes are kept in a store, and there is none"),
    ({"memory": True, "store": InMemoryStore()}, "memory: give MemorySettings"),
    ({"checkpointer": "runs.sqlite"}, "checkpointer: give an instance of BaseCheckpointSaver"),
    ({"checkpointer": SqliteSaver.from_conn_string(":memory:")}, r"write `with \.\.\. as checkpointer:`"),
    ({"checkpointer": InMemorySaver}, r"this is the class InMemorySaver; give an instance"),
    ({"store": InMemorySaver()}, "store: give an instance of BaseStore"),
    ({"cache": {}}, "cache: give an instance of BaseCache"),
    ({"name": None}, "name: give a text"),
    ({"options": {"protocol": "tools"}}, r"options: give AgentOptions\(\.\.\.\)"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_a_wrong_argument_is_refused_in_words(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        create(**{"model": MODEL, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"protocol": "tool"}, r"AgentOptions\(protocol=\.\.\.\): Input should be 'repl' or 'tools', not 'tool'"),
        ({"protcol": "tools"}, r"AgentOptions has no field 'protcol'; did you mean protocol\?"),
        ({"caps": 5}, r"AgentOptions\(caps=\.\.\.\)"),
        ({"interrupt_before": 5}, r"AgentOptions\(interrupt_before=\.\.\.\)"),
    ],
)
def test_a_wrong_option_is_refused_in_words(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        AgentOptions(**given)


def test_what_a_larger_graph_brings_may_be_missing() -> None:
    nested = AgentOptions(nested=True, interrupt_before=["act"])

    create_rlm_agent(MODEL, interrupt_on="code", memory=MemorySettings(), options=nested)
    create_rlm_agent(MODEL, interrupt_on=lambda request: True)
