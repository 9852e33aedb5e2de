"""The workflow of one call that code makes: a request, or a batch of them at once, each recorded as it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy, Send

from rlm_graph import bridge
from rlm_graph.approval import Approval
from rlm_graph.nodes.call import call
from rlm_graph.subcalls import SubcallState, Ticket


def fan_out(state: SubcallState) -> list[Send]:
    """Send each request to a `call` of its own."""
    return [Send("call", {"index": index}) for index in range(state["count"])]


def create_subcall(
    models: Mapping[str | None, BaseChatModel],
    *,
    tools: Sequence[BaseTool] = (),
    retry: RetryPolicy,
    approval: Approval | None = None,
) -> CompiledStateGraph[SubcallState, Ticket, Any, Any]:
    """Return the graph that a host call runs: `call` for each request, side by side."""
    graph = StateGraph(SubcallState, context_schema=Ticket)
    graph.add_node(
        "call",
        bridge.node(
            call,
            models=models,
            tools={tool.name: tool for tool in tools},
            approval=approval or Approval(None),
            max_attempts=retry.max_attempts,
        ),
        retry_policy=retry,
    )
    graph.add_conditional_edges(START, fan_out, ["call"])
    graph.add_edge("call", END)
    return graph.compile(name="subcall")
