"""Recurse: have a whole agent answer one of the questions that code has asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from langgraph.config import get_config
from langgraph.runtime import Runtime, get_runtime

from rlm_graph.approval import Approval
from rlm_graph.budget import Budget, Usage
from rlm_graph.calls.batch import CallBatch
from rlm_graph.calls.requests import AgentRequest, unknown_agent, unknown_model
from rlm_graph.calls.specialist import Specialist
from rlm_graph.context import Verbatim
from rlm_graph.errors import BudgetExceeded, ExecutorError, InputError, ModelError, ReplLostError
from rlm_graph.handed import WholeContext
from rlm_graph.langgraph_internals import checkpointer_of, child_config, namespace_of
from rlm_graph.models import has_price, model_name
from rlm_graph.nodes.call import CallIndex, shown
from rlm_graph.state import ContextRef, SubcallReply

SANDBOX_ATTEMPTS = 2
"""How often an agent is begun whose sandbox fails. The next time it goes on in another, from its record."""


def may_be_rebuilt(error: Exception) -> bool:
    """Whether a failed sandbox can be replaced by another one, in which the recorded cells run again."""
    return isinstance(error, ExecutorError) and not isinstance(error, ReplLostError)


def _context(request: AgentRequest) -> ContextRef | Verbatim | None:
    """Return what the agent works on: a context that this run has itself, or the texts that the code gave."""
    if request.context is None or not isinstance(request.context, WholeContext):
        return None if request.context is None else Verbatim(request.context)
    return request.context.ref


def _unpriced(requested: Budget | None, models: Iterable[BaseChatModel]) -> str | None:
    """Say which model the code cannot ask under a ceiling on cost, because nobody knows its price."""
    if requested is None or requested.max_cost_usd is None or requested.allow_unpriced:
        return None
    for model in models:
        if not has_price(model):
            return f"the price of {model_name(model)} is unknown, so budget.max_cost_usd cannot hold; leave it out"
    return None


async def recurse(
    position: CallIndex,
    *,
    agent: Callable[[AgentRequest], Runnable[Any, Any]] | None,
    models: Mapping[str | None, BaseChatModel],
    specialists: Mapping[str, Specialist],
    approval: Approval,
    max_attempts: int,
) -> dict[str, Any]:
    """Run the agent below, or the specialist that is asked, with a REPL and a granted budget, and record its answer.

    What it spends is charged here, as if this call had spent it. A run that was stopped in the middle goes on there.
    """
    assert agent is not None
    runtime: Runtime[CallBatch] = get_runtime()
    batch, index = runtime.context, position["index"]
    request = batch.requests[index]
    assert isinstance(request, AgentRequest)
    problem = (
        unknown_agent([request], specialists)
        or unknown_model(request.model, models)
        or _unpriced(request.budget, models.values())
    )
    if problem is not None:
        return batch.answered(index, SubcallReply(error=problem, error_type="ValueError"))
    rejection = approval.rejection(shown(request))
    if rejection is not None:
        return batch.answered(index, SubcallReply(error=rejection))
    batch.asked.append(index)
    info = runtime.execution_info
    last = max(max_attempts, SANDBOX_ATTEMPTS)
    attempt = last if info is None else info.node_attempt
    try:
        own = None if request.agent is None else specialists[request.agent].budget
        below = agent(request)
        async with batch.under_way(index):
            reply = await _ask_agent(request, below, batch, own, attempt=attempt, max_attempts=max_attempts)
    except BudgetExceeded as error:
        reply = SubcallReply(error=error.problem, error_type="BudgetExceeded")
    return batch.answered(index, await batch.shortened(reply))


async def _ask_agent(
    request: AgentRequest,
    agent: Runnable[Any, Any],
    batch: CallBatch,
    own: Budget | None,
    *,
    attempt: int,
    max_attempts: int,
) -> SubcallReply:
    """Run the agent and return its answer, or its error as a reply that the calling code can act on.

    The agent gets no more than `own`, the specialist's budget, and no more than the code asks for.

    An error after which the call is to be attempted again is raised instead. What the agent spent before an error is
    charged with the reply. If the next attempt goes on from the agent's record, this attempt charges nothing: the
    record holds what was spent, and the next attempt charges it.
    """
    grant = batch.ledger.grant(shares=len(batch.requests), requested=own)
    if request.budget is not None:
        grant = grant.capped_by(request.budget)
    given = {"question": request.question, "context": _context(request), "budget": grant}
    config = get_config()
    # LangGraph counts the agent of another attempt as another agent, which would start over.
    config = child_config(config, namespace_of(config))
    with batch.ledger.reserved(grant.max_tokens or 0, cost_usd=grant.max_cost_usd or 0.0) as reservation:
        result: dict[str, Any] = {}
        try:
            async for result in agent.astream(given, config, stream_mode="values"):
                # Its turns are its own, and its time has passed here too.
                spent = result.get("usage", Usage())
                reservation.usage = spent.model_copy(update={"turns": 0, "wall_s": 0.0})
        except (ExecutorError, InputError, ModelError) as error:
            kept = checkpointer_of(config) is not None
            if isinstance(error, ModelError):
                again = error.retryable and attempt < max_attempts
            else:
                again = kept and may_be_rebuilt(error) and attempt < SANDBOX_ATTEMPTS
            if again:
                if kept:
                    reservation.usage = Usage()
                raise
            return SubcallReply(error=error.problem, usage=reservation.usage + Usage(subcalls=1))
    return SubcallReply(value=result["answer"].text, usage=reservation.usage + Usage(subcalls=1))
