"""Observe: what the model is told, and what a new question finds in the dialogue."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from rlm_graph.budget import Budget, Caps, Usage
from rlm_graph.nodes.observe import observe
from rlm_graph.state import Answer, Cell, Execution, Turn
from rlm_graph.testing import ScriptedModel

TURN = Turn(number=1, namespace="act:1", executions=(Execution(number=1, code="1", status="ok", stdout="printed"),))
CODE = AIMessage("```repl\nprint()\n```")
TOOLS = AIMessage("", tool_calls=[{"name": "final", "args": {}, "id": id} for id in ("first", "second")])
ANSWER = Answer(value="old", text="old")


async def asked_again(dialogue: list[AnyMessage], *, all: bool = False, **state: Any) -> list[AnyMessage]:
    """Ask a run with that dialogue another question; return what was added before the question, or with it."""
    given: Any = {
        "messages": [HumanMessage("old?"), HumanMessage("new?")], "seen": 1, "dialogue": dialogue, "turns": [],
        "cells": [], "budget": Budget(max_cost_usd=None), "usage": Usage(), "answer": None, **state,
    }  # fmt: skip
    update = await observe(given, models=[ScriptedModel([])], budget=Budget(), caps=Caps(), window_tokens=100_000)
    *before, question = update["dialogue"]
    assert "new?" in question.text
    return [*before, question] if all else list(before)


async def test_code_that_has_not_run_is_answered_with_that_in_one_message_with_the_question() -> None:
    told = await asked_again([HumanMessage("old?"), CODE], cells=[Cell(code="print()")], turns=[TURN], all=True)

    assert [message.type for message in told] == ["human"]
    assert told[0].text.startswith("This was not run: there is another question.\n\n# Question")


async def test_code_that_has_run_is_answered_with_its_output_in_one_message_with_the_question() -> None:
    told = await asked_again([HumanMessage("old?"), CODE], turns=[TURN], all=True)

    assert [message.type for message in told] == ["human"]
    assert "printed" in told[0].text


@pytest.mark.parametrize("state", [{"answer": ANSWER}, {"turns": [TURN]}, {"cells": [Cell(code="1")]}])
async def test_each_call_of_a_tool_is_answered_even_after_the_answer(state: dict[str, Any]) -> None:
    told = await asked_again([HumanMessage("old?"), TOOLS], **state)

    assert [message.tool_call_id for message in told if isinstance(message, ToolMessage)] == ["first", "second"]
    assert len(told) == 2


@pytest.mark.parametrize("dialogue", [[], [HumanMessage("old?")], [HumanMessage("old?"), CODE]])
async def test_what_is_settled_stays_as_it_is(dialogue: list[AnyMessage]) -> None:
    assert await asked_again(dialogue, answer=ANSWER, turns=[TURN]) == []
