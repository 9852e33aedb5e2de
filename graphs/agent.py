"""The workflow of an agent: observe → think → act, round and round, then finalize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import Runnable
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from rlm_graph.nodes.routing import route_after_act, route_after_approve, route_after_finalize, route_after_think
from rlm_graph.state import GraphInput, RLMOutput


def agent_graph(
    nodes: Mapping[str, Runnable[Any, Any]], *, schema: type, retry: RetryPolicy
) -> StateGraph[Any, Any, Any, Any]:
    """Wire the nodes of an agent, by name. With a node `approve`, code waits there for a human before it runs.

    `schema` is the state, `retry` says when a request to the model is made once more.
    """
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(schema, input_schema=GraphInput, output_schema=RLMOutput)
    graph.add_node("observe", nodes["observe"])
    graph.add_node("think", nodes["think"], retry_policy=retry)
    graph.add_node("act", nodes["act"])
    graph.add_node("finalize", nodes["finalize"])

    graph.add_edge(START, "observe")
    graph.add_edge("observe", "think")
    if "approve" in nodes:
        graph.add_node("approve", nodes["approve"])
        graph.add_conditional_edges(
            "think", route_after_think, {"act": "approve", **{name: name for name in ("observe", "think", "finalize")}}
        )
        graph.add_conditional_edges("approve", route_after_approve)
    else:
        graph.add_conditional_edges("think", route_after_think)
    graph.add_conditional_edges("act", route_after_act)
    graph.add_conditional_edges("finalize", route_after_finalize)
    return graph
