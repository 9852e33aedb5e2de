"""A context that code has overwritten is not lost, and the model is told where it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from langchain_core.messages import BaseMessage

from rlm_graph.agents.graph import RLMGraph
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]


@pytest.mark.parametrize(
    ("code", "way", "value"),
    [
        ("context = None", "context = contexts[-1]", "the long text"),
        ("context = contexts = None", "context = ctx.slice(0)", "the long text"),
        ("contexts = None", "", "the long text"),
    ],
)
async def test_the_observation_says_how_to_have_it_again(agent: Build, code: str, way: str, value: str) -> None:
    told: list[str] = []

    def root(messages: Sequence[BaseMessage]) -> str:
        told.append(messages[-1].text)
        return repl(code) if len(told) == 1 else repl(f"{way}\nFINAL(context)")

    result = await agent(root).ainvoke({"question": "Go.", "context": "the long text"})

    assert result["answer"].value == value
    assert ("has overwritten `context`" in told[1]) is bool(way)
    assert way in told[1]


@pytest.mark.parametrize("reply", ["SUBMIT(42)", "SUBMIT(answer=42)", repl("SUBMIT(len(contexts) + 41)")])
async def test_a_model_that_submits_as_in_dspy_is_understood(agent: Build, reply: str) -> None:
    result = await agent([repl("1"), reply]).ainvoke({"question": "Go.", "context": "x"})

    assert (result["answer"].value, result["answer"].complete) == (42, True)
