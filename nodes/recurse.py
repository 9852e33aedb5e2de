"""Recurse: have a whole agent answer one of the questions that code has asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import Runnable
from langgraph.config import get_config
from langgraph.runtime import Runtime, get_runtime

from rlm_graph import bridge
from rlm_graph.approval import Approval
from rlm_graph.budget import Budget, Usage
from rlm_graph.errors import BudgetExceeded, ExecutorError, InputError, ModelError
from rlm_graph.nodes.call import Errand, shown
from rlm_graph.requests import AgentRequest, unknown_agent
from rlm_graph.specialists import Specialist
from rlm_graph.state import SubcallReply
from rlm_graph.subcalls import Ticket


async def recurse(
    errand: Errand,
    *,
    agent: Callable[[str | None], Runnable[Any, Any]] | None,
    specialists: Mapping[str, Specialist],
    approval: Approval,
    max_attempts: int,
) -> dict[str, Any]:
    """Run the agent below, or the specialist that is asked, with a REPL and a granted budget, and record its answer.

    What it spends is charged here, as if this call had spent it. A run that was stopped in the middle goes on there.
    """
    assert agent is not None
    runtime: Runtime[Ticket] = get_runtime()
    ticket, index = runtime.context, errand["index"]
    request = ticket.requests[index]
    assert isinstance(request, AgentRequest)
    unknown = unknown_agent([request], specialists)
    if unknown is not None:
        return {"replies": {index: SubcallReply(error=unknown, error_type="ValueError")}}
    rejection = approval.rejection(shown(request))
    if rejection is not None:
        return {"replies": {index: SubcallReply(error=rejection)}}
    ticket.asked.append(index)
    info = runtime.execution_info
    last = info is None or info.node_attempt >= max_attempts
    try:
        requested = None if request.agent is None else specialists[request.agent].budget
        reply = await _ask_agent(request, agent(request.agent), ticket, requested, last=last)
    except BudgetExceeded as error:
        reply = SubcallReply(error=str(error), error_type="BudgetExceeded")
    return {"replies": {index: reply}}


async def _ask_agent(
    request: AgentRequest, agent: Runnable[Any, Any], ticket: Ticket, requested: Budget | None, *, last: bool
) -> SubcallReply:
    """Run the agent; an error that code can act on is its reply. A `ModelError` leaves unless the attempt is the last.

    What the agent had spent until an error counts; where the next attempt goes on from its record, it counts then.
    """
    grant = ticket.ledger.grant(shares=len(ticket.requests), requested=requested)
    given = {"question": request.question, "context": request.context, "budget": grant}
    config = get_config()
    with ticket.ledger.reserved(grant.max_tokens or 0, cost_usd=grant.max_cost_usd or 0.0) as reservation:

        def note(values: dict[str, Any]) -> None:
            # Its turns are its own, and its time has passed here too.
            reservation.usage = values.get("usage", Usage()).model_copy(update={"turns": 0, "wall_s": 0.0})

        try:
            result = await bridge.follow_graph(agent, given, config, note)
        except (ExecutorError, InputError, ModelError) as error:
            if isinstance(error, ModelError) and error.retryable and not last:
                if config["configurable"].get("__pregel_checkpointer") is not None:
                    reservation.usage = Usage()
                raise
            return SubcallReply(error=str(error), usage=reservation.usage + Usage(subcalls=1))
    return SubcallReply(value=result["answer"].text, usage=reservation.usage + Usage(subcalls=1))
