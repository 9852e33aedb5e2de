"""The agent as a subgraph: added to a larger graph as a node, with which it shares some keys of the state.

python examples/subgraph.py [MODEL]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.channels.untracked_value import UntrackedValue
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer
from typing_extensions import TypedDict

from rlm_graph import AgentOptions, Answer, ContextStore, create_rlm_agent
from rlm_graph.testing import ScriptedModel


class Chat(TypedDict, total=False):
    """The larger graph's state: `messages`, `context` and `answer` are the agent's too, `language` is not."""

    messages: Annotated[list[AnyMessage], add_messages]
    context: Annotated[Any, UntrackedValue]
    """Not stored by this graph; the agent keeps what it is given in its context store."""
    answer: Answer
    language: str


def load(state: Chat) -> Chat:
    """Put the long text in."""
    return {"context": Path(__file__), "language": "en"}


def sign(state: Chat) -> Chat:
    """Work on the answer, as any node can."""
    return {"messages": [AIMessage(f"({state['language']}, {len(state['answer'].text)} characters)")]}


def build(
    model: str | BaseChatModel, contexts: ContextStore, checkpointer: Checkpointer = None
) -> CompiledStateGraph[Chat]:
    """Return the larger graph; the agent's node is called `rlm`."""
    graph = StateGraph(Chat)
    graph.add_node("load", load)
    graph.add_node("rlm", create_rlm_agent(model, options=AgentOptions(contexts=contexts)))
    graph.add_node("sign", sign)
    graph.add_edge(START, "load")
    graph.add_edge("load", "rlm")
    graph.add_edge("rlm", "sign")
    return graph.compile(checkpointer=checkpointer)


def scripted() -> ScriptedModel:
    """Stand for a model, so that the example runs without a key."""
    return ScriptedModel(["```repl\nFINAL(f'{len(context.splitlines())} lines')\n```"])


def main() -> None:
    """Ask one question and print the conversation."""
    import tempfile

    model: str | BaseChatModel = sys.argv[1] if len(sys.argv) > 1 else scripted()
    with tempfile.TemporaryDirectory() as folder:
        graph = build(model, ContextStore(Path(folder)))
        result = graph.invoke({"messages": [("human", "How many lines does the text have?")]})
    for message in result["messages"]:
        message.pretty_print()


if __name__ == "__main__":
    main()
