"""Ask: put all prompts of a call to their models, side by side, and record each answer as it comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import get_runtime
from langgraph.types import RetryPolicy

from rlm_graph import models as provider
from rlm_graph.bridge import in_thread, to_its_end
from rlm_graph.budget import Usage
from rlm_graph.calls.batch import CallBatch, SubcallState
from rlm_graph.calls.requests import ModelRequest, unknown_agent, unknown_model
from rlm_graph.calls.specialist import Specialist
from rlm_graph.errors import BudgetExceeded, ModelError
from rlm_graph.events.emitting import emit_call, emit_reply
from rlm_graph.json_pieces import LARGE, weight
from rlm_graph.langgraph_internals import part_config
from rlm_graph.models import ModelReply, ReplyCache, affordable_tokens, media_block, not_whole, unreadable
from rlm_graph.state import SubcallReply
from rlm_graph.thinking import without_thinking

CHARS_PER_TOKEN = 4
"""A rough figure, for reserving a call before the provider has counted its tokens."""


async def ask(
    state: SubcallState,
    *,
    models: Mapping[str | None, BaseChatModel],
    specialists: Mapping[str, Specialist],
    retry: RetryPolicy,
    replies: ReplyCache | None = None,
) -> dict[str, Any]:
    """Ask for what is not known yet. An error that code can act on is the reply; what may pass is tried again."""
    batch: CallBatch = get_runtime(CallBatch).context
    ask_once = partial(answer_of, models=models, specialists=specialists, batch=batch, replies=replies)
    answers = dict(batch.known)

    async def answer(index: int) -> None:
        answers[index] = await _answered(ask_once, batch, index, retry)

    await _all(answer, [index for index in range(state["count"]) if index not in answers])
    return {"replies": answers}


async def _all(answer: Callable[[int], Awaitable[None]], indexes: Sequence[int]) -> None:
    """Answer them side by side. The first error ends the others, and is raised when they have ended."""
    if len(indexes) == 1:
        await answer(indexes[0])
        return
    tasks = [asyncio.ensure_future(answer(index)) for index in indexes]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _answered(
    ask_once: Callable[..., Awaitable[SubcallReply]], batch: CallBatch, index: int, retry: RetryPolicy
) -> SubcallReply:
    """Ask until there is an answer, or no hope for one, and record it.

    A prompt is under way, and holds one of the places for those, until its answer is recorded. An answer that has come
    is recorded even if the run is left meanwhile: it has been paid for.
    """
    request = batch.requests[index]
    assert isinstance(request, ModelRequest)
    config = part_config(get_config(), index)
    batch.asked.append(index)
    about = emit_call(request, config)
    attempt = 1
    while True:
        async with batch.limit:
            reply: SubcallReply | None
            try:
                reply = await ask_once(request, index=index, config=config)
            except BudgetExceeded as error:
                reply = SubcallReply(error=error.problem, error_type="BudgetExceeded")
            except ModelError as error:
                reply = None if error.retryable and attempt < retry.max_attempts else failed(error)
            if reply is not None:
                answer = await to_its_end(_recorded(batch, index, with_what_was_spent(reply, batch, index)))
                emit_reply(about, answer)
                return answer
        await asyncio.sleep(_pause_s(retry, attempt))
        attempt += 1


async def _recorded(batch: CallBatch, index: int, reply: SubcallReply) -> SubcallReply:
    """Return the reply as it is recorded, once it is."""
    answer = batch.numbered(await batch.shortened(reply))
    if batch.recorder is not None:
        await batch.recorder.keep(index, answer)
    return answer


def _pause_s(retry: RetryPolicy, attempt: int) -> float:
    """Return the seconds to wait after an attempt, as LangGraph does between those of a node."""
    pause_s = min(retry.max_interval, retry.initial_interval * retry.backoff_factor ** (attempt - 1))
    return pause_s + random.uniform(0, 1) if retry.jitter else pause_s


def with_what_was_spent(reply: SubcallReply, batch: CallBatch, index: int) -> SubcallReply:
    """Return the reply with what failed attempts of this process have spent: it is part of what the answer has cost."""
    spent = batch.spent.get(index)
    return reply if spent is None else reply.model_copy(update={"usage": reply.usage + spent})


async def answer_of(
    request: ModelRequest,
    models: Mapping[str | None, BaseChatModel],
    specialists: Mapping[str, Specialist],
    batch: CallBatch,
    index: int,
    replies: ReplyCache | None,
    *,
    config: RunnableConfig,
) -> SubcallReply:
    """Ask the model once, within the budget of the run, of the specialist and of the request.

    Raises `BudgetExceeded`, and `ModelError` if the provider fails; what was spent is charged to the batch either way.
    """
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
                answer = await provider.ask(model, messages, config=config, replies=replies, spent=spent, **options)
        except TimeoutError:
            if timeout_s != left:
                raise BudgetExceeded("timeout_s", spent=timeout_s, limit=timeout_s) from None
            limit = ledger.budget.timeout_s or 0.0
            raise BudgetExceeded("timeout_s", spent=ledger.total.wall_s, limit=limit) from None
    large = weight(answer.message.content) >= LARGE
    return await in_thread(_reply, answer) if large else _reply(answer)


def failed(error: ModelError) -> SubcallReply:
    """Return the failure as it is recorded, with the text of a reply that broke off half-way."""
    partial = without_thinking(error.partial)
    if not partial:
        return SubcallReply(error=error.problem)
    return SubcallReply(error=error.problem, error_type="IncompleteReply", reason="cut", partial=partial)


def _reply(answer: ModelReply) -> SubcallReply:
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
