"""The workflow of an agent: observe → think → act, round and round, then finalize."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, get_args, get_type_hints

from langchain_core.runnables import Runnable
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from rlm_graph.channels import GraphInput, RLMOutput
from rlm_graph.nodes.routing import route_after_act, route_after_approve, route_after_finalize, route_after_think
from rlm_graph.runnables import Router


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
        _add_router(graph, "think", route_after_think, act="approve")
        _add_router(graph, "approve", route_after_approve)
    else:
        _add_router(graph, "think", route_after_think)
    _add_router(graph, "act", route_after_act)
    _add_router(graph, "finalize", route_after_finalize)
    return graph


def _add_router(
    graph: StateGraph[Any, Any, Any, Any], source: str, route: Callable[[Any], str], **instead: str
) -> None:
    """Go on from `source` where `route` says; its `Literal` is the list of edges, `instead` names others for some."""
    ends: dict[Hashable, str] = {name: instead.get(name, name) for name in get_args(get_type_hints(route)["return"])}
    graph.add_conditional_edges(source, Router(route), ends)
