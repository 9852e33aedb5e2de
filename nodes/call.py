"""Call: make one of the calls that code has asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langgraph.config import get_config
from langgraph.runtime import Runtime, get_runtime

from rlm_graph import memory
from rlm_graph.approval import PREVIEW_CHARS, Approval, ApprovalRequest
from rlm_graph.budget import Usage
from rlm_graph.calls.requests import ModelRequest, Request, ToolRequest, describe, unknown_agent, unknown_model
from rlm_graph.calls.specialist import Specialist
from rlm_graph.calls.subcalls import CallBatch
from rlm_graph.errors import BudgetExceeded, ModelError
from rlm_graph.ledger import Ledger
from rlm_graph.models import ModelReply, ReplyCache, affordable_tokens, ask, media_block, not_whole, unreadable
from rlm_graph.state import SubcallReply
from rlm_graph.thinking import without_thinking
from rlm_graph.tools import HostFunction, use

CHARS_PER_TOKEN = 4
"""A rough figure, for reserving a call before the provider has counted its tokens."""


class CallIndex(TypedDict):
    """Which request of the batch to work on."""

    index: int


async def call(
    position: CallIndex,
    *,
    models: Mapping[str | None, BaseChatModel],
    tools: Mapping[str, HostFunction],
    specialists: Mapping[str, Specialist],
    approval: Approval,
    max_attempts: int,
    replies: ReplyCache | None = None,
) -> dict[str, Any]:
    """Make the request and record what it was answered.

    An error that code can act on is recorded as the reply. `ModelError` leaves while another attempt is due, so that
    the retry policy makes it.
    """
    runtime: Runtime[CallBatch] = get_runtime()
    batch, index = runtime.context, position["index"]
    request = batch.requests[index]
    rejection = approval.rejection(shown(request))
    if rejection is not None:
        return batch.answered(index, SubcallReply(error=rejection))
    batch.asked.append(index)
    try:
        async with batch.under_way(index):
            if isinstance(request, ToolRequest):
                reply = await _use_tool(request, tools, batch.ledger)
            else:
                assert isinstance(request, ModelRequest)
                reply = await _ask_model(request, models, specialists, batch, index, replies)
    except BudgetExceeded as error:
        reply = SubcallReply(error=error.problem, error_type="BudgetExceeded")
    except ModelError as error:
        info = runtime.execution_info
        if error.retryable and info is not None and info.node_attempt < max_attempts:
            raise
        reply = _failed(error)
    # What failed attempts of this process have spent is part of what the answer has cost.
    spent = reply.usage + batch.spent.get(index, Usage())
    return batch.answered(index, reply.model_copy(update={"usage": spent}))


def shown(request: Request) -> ApprovalRequest:
    """Return what a human sees of a request."""
    function, agent, text = describe(request)
    shown = ApprovalRequest(kind="subcall", function=function, agent=agent or "", preview=text[:PREVIEW_CHARS])
    if isinstance(request, ToolRequest):
        return shown
    asked = {} if request.budget is None else request.budget.model_dump(mode="json", exclude_unset=True)
    if isinstance(request, ModelRequest) and request.max_tokens is not None:
        asked["max_tokens"] = request.max_tokens
    return shown.model_copy(update={"model": request.model or "", "budget": asked})


async def _ask_model(
    request: ModelRequest,
    models: Mapping[str | None, BaseChatModel],
    specialists: Mapping[str, Specialist],
    batch: CallBatch,
    index: int,
    replies: ReplyCache | None,
) -> SubcallReply:
    ledger = batch.ledger
    unknown = unknown_agent([request], specialists) or unknown_model(request.model, models)
    if unknown is not None:
        return SubcallReply(error=unknown, error_type="ValueError")
    specialist = None if request.agent is None else specialists[request.agent]
    own = None if specialist is None or request.model is not None else specialist.model
    model = own or models[request.model]
    messages: list[AnyMessage] = [HumanMessage(_content(request))]
    problem = unreadable(model, messages)
    if problem is not None:
        return SubcallReply(error=problem, error_type="ValueError")
    role = None if specialist is None else specialist.role
    system = [words for words in (role, request.system) if words is not None]
    if system:
        messages.insert(0, SystemMessage("\n\n".join(system)))
    # Without an agent around it, a specialist's own ceilings, and those that the code asks for, bound the one reply.
    asked = [
        budget.model_dump(include={"max_tokens", "timeout_s"}, exclude_unset=True)
        for budget in (None if specialist is None else specialist.budget, request.budget)
        if budget is not None
    ]
    affordable = affordable_tokens(model, messages, ledger.cost_left_usd)
    max_tokens = _least(request.max_tokens, affordable, *(own.get("max_tokens") for own in asked))
    left = ledger.seconds_left
    timeout_s = _least(left, *(own.get("timeout_s") for own in asked))
    options: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
    with ledger.reserved(len(request.prompt) // CHARS_PER_TOKEN) as reservation:
        batch.charge(index, Usage(subcalls=1))

        def spent(usage: Usage) -> None:
            reservation.usage += usage
            batch.charge(index, usage)

        try:
            async with asyncio.timeout(timeout_s):
                answer = await ask(model, messages, config=get_config(), replies=replies, spent=spent, **options)
        except TimeoutError:
            if timeout_s != left:
                raise BudgetExceeded("timeout_s", spent=timeout_s, limit=timeout_s) from None
            limit = ledger.budget.timeout_s or 0.0
            raise BudgetExceeded("timeout_s", spent=ledger.total.wall_s, limit=limit) from None
    return _recorded(answer)


def _failed(error: ModelError) -> SubcallReply:
    """Return the failure as it is recorded, with the text of a reply that broke off half-way."""
    partial = without_thinking(error.partial)
    if not partial:
        return SubcallReply(error=error.problem)
    return SubcallReply(error=error.problem, error_type="IncompleteReply", reason="cut", partial=partial)


def _recorded(answer: ModelReply) -> SubcallReply:
    """Return the reply as it is recorded: the code takes it for an answer only if it is whole."""
    text = without_thinking(answer.message.text)
    if answer.ending == "complete":
        return SubcallReply(value=text)
    return SubcallReply(
        error=not_whole(answer.message, answer.ending),
        error_type="IncompleteReply",
        reason=answer.ending,
        partial=text,
    )


def _least(*limits: float | None) -> Any:
    return min((limit for limit in limits if limit is not None), default=None)


def _content(request: ModelRequest) -> str | list[str | dict[str, Any]]:
    media = [media_block(url) for url in (*request.images, *request.audio)]
    return [{"type": "text", "text": request.prompt}, *media] if media else request.prompt


async def _use_tool(request: ToolRequest, tools: Mapping[str, HostFunction], ledger: Ledger) -> SubcallReply:
    function = tools.get(request.tool)
    if function is None:
        words = memory.OFF if request.tool in memory.NAMES else f"{request.tool} is not available in this run"
        return SubcallReply(error=words, error_type="NameError")
    try:
        return await use(function, request.arguments, config=get_config(), timeout_s=ledger.seconds_left)
    except TimeoutError:
        raise BudgetExceeded("timeout_s", spent=ledger.total.wall_s, limit=ledger.budget.timeout_s or 0.0) from None
