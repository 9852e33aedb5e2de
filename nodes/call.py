"""Call: make one of the calls that code has asked for, which may have to wait for a human."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langgraph.config import get_config
from langgraph.runtime import Runtime, get_runtime

from rlm_graph import memory
from rlm_graph.approval import PREVIEW_CHARS, Approval, ApprovalRequest
from rlm_graph.calls.batch import CallBatch
from rlm_graph.calls.requests import ModelRequest, Request, ToolRequest, describe
from rlm_graph.calls.specialist import Specialist
from rlm_graph.errors import BudgetExceeded, ModelError
from rlm_graph.ledger import Ledger
from rlm_graph.models import ReplyCache
from rlm_graph.nodes.ask import answer_of, failed, with_what_was_spent
from rlm_graph.state import SubcallReply
from rlm_graph.tools import HostFunction, use


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
    if index in batch.known:
        return {"replies": {index: batch.known[index]}}
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
                reply = await answer_of(request, models, specialists, batch, index, replies, config=get_config())
    except BudgetExceeded as error:
        reply = SubcallReply(error=error.problem, error_type="BudgetExceeded")
    except ModelError as error:
        info = runtime.execution_info
        if error.retryable and info is not None and info.node_attempt < max_attempts:
            raise
        reply = failed(error)
    return batch.answered(index, await batch.shortened(with_what_was_spent(reply, batch, index)))


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


async def _use_tool(request: ToolRequest, tools: Mapping[str, HostFunction], ledger: Ledger) -> SubcallReply:
    function = tools.get(request.tool)
    if function is None:
        words = memory.OFF if request.tool in memory.NAMES else f"{request.tool} is not available in this run"
        return SubcallReply(error=words, error_type="NameError")
    try:
        return await use(function, request.arguments, config=get_config(), timeout_s=ledger.seconds_left)
    except TimeoutError:
        raise BudgetExceeded("timeout_s", spent=ledger.total.wall_s, limit=ledger.budget.timeout_s or 0.0) from None
