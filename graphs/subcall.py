"""The workflow of one call that code makes: a request, or a batch of them, each recorded as it is answered."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy, Send

from rlm_graph import runnables
from rlm_graph.approval import Approval
from rlm_graph.calls.batch import CallBatch, SubcallState
from rlm_graph.calls.requests import AgentRequest
from rlm_graph.calls.specialist import Specialist
from rlm_graph.events.emitting import with_call_events
from rlm_graph.models import ReplyCache
from rlm_graph.nodes.ask import ask
from rlm_graph.nodes.call import call
from rlm_graph.nodes.recurse import SANDBOX_ATTEMPTS, may_be_rebuilt, recurse
from rlm_graph.tools import HostFunction


def fan_out(state: SubcallState) -> Hashable | Sequence[Hashable]:
    """Ask models in one step; send each request that may pause, such as one to an agent, to a step of its own."""
    if state["kind"] == "ask":
        return "ask"
    return [Send(state["kind"], {"index": index}) for index in range(state["count"])]


def create_subcall(
    models: Mapping[str | None, BaseChatModel],
    *,
    tools: Mapping[str, HostFunction] | None = None,
    retry: RetryPolicy,
    approval: Approval | None = None,
    agent: Callable[[AgentRequest], Runnable[Any, Any]] | None = None,
    specialists: Mapping[str, Specialist] | None = None,
    replies: ReplyCache | None = None,
) -> CompiledStateGraph[SubcallState, CallBatch, Any, Any]:
    """Return the graph that a host call runs: `ask` for all of its requests, or `call` or `recurse` for each.

    `agent` gives the agent that `recurse` runs for a request, such as a specialist, when it is first needed.
    """
    approval = approval or Approval(None)
    graph = StateGraph(SubcallState, context_schema=CallBatch)
    graph.add_node(
        "ask", runnables.node(ask, models=models, specialists=specialists or {}, retry=retry, replies=replies)
    )
    graph.add_node(
        "call",
        runnables.node(
            with_call_events(call),
            models=models,
            tools=tools or {},
            specialists=specialists or {},
            approval=approval,
            max_attempts=retry.max_attempts,
            replies=replies,
        ),
        retry_policy=retry,
    )
    graph.add_node(
        "recurse",
        runnables.node(
            with_call_events(recurse),
            agent=agent,
            models=models,
            specialists=specialists or {},
            approval=approval,
            max_attempts=retry.max_attempts,
        ),
        retry_policy=[retry, RetryPolicy(max_attempts=SANDBOX_ATTEMPTS, retry_on=may_be_rebuilt)],
    )
    graph.add_conditional_edges(START, runnables.Router(fan_out), ["ask", "call", "recurse"])
    graph.add_edge("ask", END)
    graph.add_edge("call", END)
    graph.add_edge("recurse", END)
    return graph.compile(name="subcall")
