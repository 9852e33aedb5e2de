"""One request to a model, and what it used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.runnables import RunnableBinding, RunnableConfig
from langgraph.types import RetryPolicy

from rlm_graph.budget import Usage
from rlm_graph.errors import ModelError, SetupError
from rlm_graph.models import pacing
from rlm_graph.models.errors import as_model_error
from rlm_graph.models.names import DEFAULTS, base_url, model_name
from rlm_graph.models.pool import Pool, destination
from rlm_graph.models.prices import cost_usd
from rlm_graph.models.replies import ReplyCache
from rlm_graph.settings import ModelSettings
from rlm_graph.surrogates import each_text

M = TypeVar("M", bound=BaseMessage)


async def ask(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    *,
    config: RunnableConfig | None = None,
    replies: ReplyCache | None = None,
    **kwargs: Any,
) -> tuple[AIMessage, Usage]:
    """Make one request and return the whole reply with its tokens and cost.

    Of a pool, the members are asked one after another until one answers; the error is the last one's, and may pass if
    any of theirs may. With `replies`, an equal request that was answered before costs nothing.

    The reply is streamed, so that LangGraph's `messages` stream shows it as it comes; a model that cannot stream is
    called plainly. Tokens are the provider's count; where a reply states none, litellm or LangChain estimates them.
    A reply of unknown price counts as an `unpriced_calls`. Text that has no UTF-8 (a lone surrogate) is replaced by
    U+FFFD on its way out and in: neither a provider nor a checkpoint could hold it.

    Raises `ModelError` if the provider fails. Nothing is tried again here.
    """
    kept = None if replies is None else await replies.find(model, messages, kwargs)
    if kept is not None:
        return kept, Usage()
    members = model.candidates(messages) if isinstance(model, Pool) else [model]
    failures: list[ModelError] = []
    for member in members:
        try:
            message, usage = await _ask_one(member, messages, config, _own(member, model, kwargs))
        except ModelError as error:
            failures.append(error)
        else:
            if replies is not None:
                await replies.keep(model, messages, kwargs, message)
            return message, usage
    last = failures[-1]
    if len(failures) > 1:
        last.retryable = any(failure.retryable for failure in failures)
        last.too_long = all(failure.too_long for failure in failures)
    raise last


def _own(member: BaseChatModel, model: BaseChatModel, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a request to a pool in the form that the member wants."""
    if member is model or "tools" not in options:
        return options
    return {**options, **tool_options(member, options["tools"])}


async def _ask_one(
    model: BaseChatModel, messages: Sequence[BaseMessage], config: RunnableConfig | None, kwargs: dict[str, Any]
) -> tuple[AIMessage, Usage]:
    name, address = model_name(model), base_url(model)
    await pacing.turn(destination(model))
    try:
        chunks = [chunk async for chunk in model.astream([*map(storable, messages)], config, **kwargs)]
    except Exception as error:
        failure = as_model_error(error, name=name, address=address)
        if failure is None:
            raise
        if failure.retry_after_s is not None:
            pacing.hold_back(destination(model), failure.retry_after_s)
        raise failure from error
    message = storable(_whole(chunks))
    if not message.content and not message.tool_calls and not message.invalid_tool_calls and not message.usage_metadata:
        # litellm takes a body that is no event stream for an empty one.
        where = f" from {address}" if address else ""
        problem = f"{name}: the reply{where} held no message; does the server speak OpenAI's protocol?"
        raise ModelError(problem, retryable=True)
    tokens = message.usage_metadata or _estimate(messages, message)
    cost = await cost_usd(model, message, tokens)
    usage = Usage(
        input_tokens=tokens["input_tokens"],
        output_tokens=tokens["output_tokens"],
        cost_usd=cost or 0.0,
        unpriced_calls=int(cost is None),
    )
    return message, usage


def tool_options(model: BaseChatModel, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what makes `ask` offer these tools, in OpenAI's form. Raises `SetupError` if the model cannot call any."""
    try:
        bound = model.bind_tools([dict(tool) for tool in tools])
    except NotImplementedError as error:
        raise SetupError(f"{model_name(model)} cannot call tools; use protocol = repl") from error
    assert isinstance(bound, RunnableBinding)
    return dict(bound.kwargs)


def retry_policy(settings: ModelSettings = DEFAULTS) -> RetryPolicy:
    """Return the policy for nodes that ask models: growing pauses with jitter, and only what may pass is retried."""
    return RetryPolicy(max_attempts=settings.max_retries + 1, max_interval=30.0, retry_on=_may_pass)


def _may_pass(error: Exception) -> bool:
    return isinstance(error, ModelError) and error.retryable


def _whole(chunks: Sequence[AIMessage]) -> AIMessage:
    pieces = [chunk for chunk in chunks if isinstance(chunk, AIMessageChunk)]
    if len(pieces) < len(chunks):
        return chunks[-1]  # of a model that does not stream: the message itself
    # All at once: adding them up one by one copies the text for each.
    whole = message_chunk_to_message(pieces[0] + pieces[1:])
    assert isinstance(whole, AIMessage)
    return whole


def _estimate(messages: Sequence[BaseMessage], reply: AIMessage) -> UsageMetadata:
    given, written = count_tokens_approximately(messages), count_tokens_approximately([reply])
    return UsageMetadata(input_tokens=given, output_tokens=written, total_tokens=given + written)


def storable(message: M) -> M:
    """Return the message with U+FFFD in the place of each lone surrogate; the message itself if it holds none."""
    texts: dict[str, Any] = {"content": message.content, "additional_kwargs": message.additional_kwargs}
    if isinstance(message, AIMessage):
        texts |= {"tool_calls": message.tool_calls, "invalid_tool_calls": message.invalid_tool_calls}
    changed = {field: clean for field, value in texts.items() if (clean := each_text(value)) is not value}
    return message.model_copy(update=changed) if changed else message
