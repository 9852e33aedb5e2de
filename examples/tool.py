"""The agent as a tool of another agent, which asks it when a question is about the long text.

python examples/tool.py [MODEL]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Checkpointer

from rlm_graph import AgentOptions, ContextStore, chat_model, create_rlm_agent
from rlm_graph.testing import ScriptedModel


def corpus_tool(model: str | BaseChatModel, contexts: ContextStore, corpus: Any) -> BaseTool:
    """Make a tool that answers questions about `corpus`, which its caller never sees."""
    agent = create_rlm_agent(model, options=AgentOptions(contexts=contexts))
    kept = contexts.take(corpus)

    @tool
    async def ask_corpus(question: str) -> str:
        """Answer a question about the corpus. Ask one thing at a time, in a whole sentence."""
        result = await agent.ainvoke({"question": question, "context": kept})
        return str(result["answer"])

    return ask_corpus


def build(
    caller: str | BaseChatModel, asked: BaseTool, checkpointer: Checkpointer = None
) -> CompiledStateGraph[MessagesState]:
    """Return an assistant that calls the tool as often as it likes."""
    model = chat_model(caller).bind_tools([asked])

    async def assistant(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("assistant", assistant)
    graph.add_node("tools", ToolNode([asked]))
    graph.add_edge(START, "assistant")
    graph.add_conditional_edges("assistant", tools_condition, {"tools": "tools", "__end__": END})
    graph.add_edge("tools", "assistant")
    return graph.compile(checkpointer=checkpointer)


def scripted() -> tuple[ScriptedModel, ScriptedModel]:
    """Stand for the caller's model and the agent's, so that the example runs without a key."""
    call = AIMessage("", tool_calls=[{"name": "ask_corpus", "args": {"question": "Who wrote it?"}, "id": "1"}])
    caller = ScriptedModel([call, "It was written by nobody in particular."])
    agent = ScriptedModel(["```repl\nprint(ctx.find('author'))\n```", 'FINAL("nobody in particular")'])
    return caller, agent


async def main() -> None:
    """Ask one question and print the conversation."""
    import tempfile

    caller, agent = (sys.argv[1], sys.argv[1]) if len(sys.argv) > 1 else scripted()
    with tempfile.TemporaryDirectory() as folder:
        asked = corpus_tool(agent, ContextStore(Path(folder)), Path(__file__))
        result = await build(caller, asked).ainvoke({"messages": [("human", "Who wrote the corpus?")]})
    for message in result["messages"]:
        message.pretty_print()


if __name__ == "__main__":
    import asyncio

    asyncio.run(main())
