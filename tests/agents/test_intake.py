"""What a caller gives a run is taken, or refused with what was meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel

from rlm_graph import InputError
from rlm_graph.agents.graph import RLMGraph
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"question": "Go.", "contxt": "text"}, r"a key 'contxt', which no run knows; did you mean context\?"),
        ({"qestion": "Go."}, r"did you mean question\?"),
        ({"question": "Go.", "documents": "text"}, r"there are: budget, context, messages, question"),
        ({"question": "Go.", "contexts": ["text"]}, r"did you mean context\?"),
        ({"question": 5}, "the question is of type int"),
        ({"question": " "}, "the question is empty"),
        ({"question": "Go.", "budget": {"max_turn": 1}}, r"did you mean max_turns\?"),
    ],
)
async def test_what_no_run_knows_is_refused_with_what_was_meant(
    agent: Build, given: dict[str, Any], words: str
) -> None:
    graph = agent([])

    with pytest.raises(InputError, match=words):
        graph.invoke(given)
    with pytest.raises(InputError, match=words):
        await graph.ainvoke(given)
    with pytest.raises(InputError, match=words):
        graph.batch([given])


def test_the_result_of_a_run_can_be_given_to_another(agent: Build) -> None:
    first = agent([repl("FINAL(1)")]).invoke({"question": "Go."})

    assert agent([repl("FINAL(2)")]).invoke({**first, "question": "And now?"})["answer"].value == 2


class AsModel(BaseModel):
    """A larger graph's state with keys of its own."""

    messages: Annotated[list[AnyMessage], add_messages]
    context: str = "four"
    language: str = "en"


@dataclass
class AsDataclass:
    """The same."""

    messages: Annotated[list[AnyMessage], add_messages]
    context: str = "four"
    contexts: str = "its own"


@pytest.mark.parametrize("state", [AsModel, AsDataclass])
def test_a_node_of_a_larger_graph_is_given_all_of_its_state(agent: Build, state: type) -> None:
    larger: Any = StateGraph(state)
    larger.add_node("rlm", agent([repl("FINAL(len(context))")]))
    larger.add_edge(START, "rlm")

    result = larger.compile().invoke({"messages": [HumanMessage("How long?")]})

    assert result["messages"][-1].text == "4"
