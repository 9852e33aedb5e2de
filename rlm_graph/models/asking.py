"""One request to a model: the reply, what it used and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableBinding, RunnableConfig
from langgraph.types import RetryPolicy

from rlm_graph.bridge import in_thread
from rlm_graph.budget import Usage
from rlm_graph.errors import ModelError, SetupError
from rlm_graph.json_pieces import LARGE, weight
from rlm_graph.models import habits, pacing
from rlm_graph.models.endings import Ending, ending
from rlm_graph.models.errors import EmptyStream, as_model_error, may_have_cost
from rlm_graph.models.listening import is_unobserved, streams
from rlm_graph.models.merging import merged
from rlm_graph.models.names import DEFAULTS, base_url, model_name
from rlm_graph.models.openai_chat import OpenAIChat
from rlm_graph.models.pool import Pool, destination
from rlm_graph.models.prices import cost_usd
from rlm_graph.models.replies import ReplyCache
from rlm_graph.models.spending import Attempt, estimated, is_stated, under_way
from rlm_graph.models.surrogates import storable
from rlm_graph.settings import ModelSettings

Spent = Callable[[Usage], None]
"""Is told what an attempt has spent, once, however it ended; not called for nothing."""


@dataclass(frozen=True)
class ModelReply:
    """What came of one request."""

    message: AIMessage
    usage: Usage
    """Of all that was asked for it: of a pool, the members that failed count too."""
    ending: Ending


async def ask(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    *,
    config: RunnableConfig | None = None,
    replies: ReplyCache | None = None,
    spent: Spent | None = None,
    **kwargs: Any,
) -> ModelReply:
    """Make one request and return the whole reply with its tokens and cost, and how it ended.

    Of a pool, the members are asked one after another until one answers; the error is the last one's, and may pass if
    any of theirs may. With `replies`, an equal request that was answered before costs nothing.

    The reply is streamed where somebody listens, as LangGraph's `messages` stream does, and else asked for plainly; a
    model that cannot stream is called plainly. Tokens are the provider's count; where there is none, they are
    estimated and the call counts as an `estimated_calls`. A reply of unknown price counts as an `unpriced_calls`. Text
    that has no UTF-8 (a lone surrogate) is replaced by U+FFFD on its way out and in: neither a provider nor a
    checkpoint could hold it.

    Raises `ModelError` if the provider fails, with what was spent in its `usage`; `spent` hears of that too, and of
    what a request had cost when it was cancelled. Nothing is tried again here, but what a server refuses to read.
    """
    kept = None if replies is None else await replies.find(model, messages, kwargs)
    if kept is not None:
        return ModelReply(kept, Usage(), await _ending(kept))
    account = _Account(spent)
    members = model.candidates(messages) if isinstance(model, Pool) else [model]
    failures: list[ModelError] = []
    for member in members:
        try:
            message = await _ask_one(member, messages, config, _own(member, model, kwargs), account)
        except ModelError as error:
            failures.append(error)
        else:
            reply = ModelReply(message, account.usage, await _ending(message))
            if replies is not None and reply.ending == "complete":
                await replies.keep(model, messages, kwargs, message)
            return reply
    last = failures[-1]
    last.usage = account.usage if account.usage != Usage() else None
    if len(failures) > 1:
        last.retryable = any(failure.retryable for failure in failures)
        last.too_long = all(failure.too_long for failure in failures)
    raise last


async def _ending(message: AIMessage) -> Ending:
    """Tell how a reply ended; of a large one beside the event loop."""
    large = weight(message.content) >= LARGE
    return await in_thread(ending, message) if large else ending(message)


class _Account:
    """Adds up what the attempts at one request have spent."""

    def __init__(self, spent: Spent | None) -> None:
        self.usage = Usage()
        self._spent = spent

    def charge(self, usage: Usage) -> None:
        if usage != Usage():
            self.usage += usage
            if self._spent is not None:
                self._spent(usage)


def _own(member: BaseChatModel, model: BaseChatModel, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a request to a pool in the form that the member wants."""
    if member is model or "tools" not in options:
        return options
    return {**options, **tool_options(member, options["tools"])}


async def _ask_one(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    config: RunnableConfig | None,
    kwargs: dict[str, Any],
    account: _Account,
) -> AIMessage:
    there = destination(model)
    await pacing.turn(there)
    streamed = streams(model, config, kwargs) and not habits.has(there, "whole only")
    try:
        return await _attempted(model, messages, config, kwargs, account, streamed or habits.has(there, "slow"))
    except ModelError as error:
        if streamed and (habits.refuses_streams(str(error)) or isinstance(error.__cause__, EmptyStream)):
            habits.learn(there, "whole only")
            return await _attempted(model, messages, config, kwargs, account, streamed=False)
        if not streamed and isinstance(error.__cause__, TimeoutError):
            # Whoever thinks for long is heard from in a stream, if only in its signs of life.
            habits.learn(there, "slow")
        raise


async def _attempted(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    config: RunnableConfig | None,
    kwargs: dict[str, Any],
    account: _Account,
    streamed: bool,
) -> AIMessage:
    """Ask once, and charge what that has cost however it ends."""
    own = isinstance(model, OpenAIChat)
    attempt = Attempt()
    before = under_way.set(attempt)
    try:
        message = await _received(model, messages, config, kwargs, attempt, streamed)
        attempt.pieces = [message]
        usage = await _usage(model, messages, message)
    except BaseException as error:
        if not own:
            attempt.sent = may_have_cost(error)
        account.charge(attempt.spent(model, messages))
        failure = (
            as_model_error(error, name=model_name(model), address=base_url(model))
            if isinstance(error, Exception)
            else None
        )
        if failure is None:
            raise
        failure.partial = "".join(storable(piece).text for piece in attempt.pieces)
        if failure.retry_after_s is not None:
            pacing.hold_back(destination(model), failure.retry_after_s)
        raise failure from error
    finally:
        under_way.reset(before)
    if not is_stated(message.usage_metadata) and not _says_anything(message):
        # litellm takes a body that is no event stream for an empty one.
        where = f" from {base_url(model)}" if base_url(model) else ""
        problem = f"{model_name(model)}: the reply{where} held no message; does the server speak OpenAI's protocol?"
        raise ModelError(problem, retryable=True)
    account.charge(usage)
    return message


async def _usage(model: BaseChatModel, messages: Sequence[BaseMessage], message: AIMessage) -> Usage:
    stated = message.usage_metadata if is_stated(message.usage_metadata) else None
    tokens = stated or estimated(messages, [message])
    cost = await cost_usd(model, message, tokens)
    return Usage(
        input_tokens=tokens["input_tokens"],
        output_tokens=tokens["output_tokens"],
        cost_usd=cost or 0.0,
        unpriced_calls=int(cost is None),
        estimated_calls=int(stated is None),
    )


def _says_anything(message: AIMessage) -> bool:
    parts = (message.content, message.tool_calls, message.invalid_tool_calls, message.additional_kwargs)
    return any(parts) or bool(message.response_metadata.get("finish_reason"))


async def _received(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    config: RunnableConfig | None,
    kwargs: dict[str, Any],
    attempt: Attempt,
    streamed: bool,
) -> AIMessage:
    # Our own client cleans what it encodes, each message once.
    given = list(messages) if isinstance(model, OpenAIChat) else [*map(storable, messages)]
    if not streamed and isinstance(model, OpenAIChat) and is_unobserved(model, config):
        return storable(await model.reply_to(given, **kwargs))
    if not streamed:
        # LangChain streams all the same where a handler wants tokens, and takes this option of a request for a no.
        plainly: dict[str, Any] = (
            {"stream": False} if isinstance(model, OpenAIChat) or model._llm_type == "litellm-chat" else {}
        )
        return storable(await model.ainvoke(given, config, **plainly, **kwargs))
    async with aclosing(model.astream(given, config, **kwargs)) as coming:  # type: ignore[type-var]  # a generator
        async for chunk in coming:
            attempt.pieces.append(chunk)
    return storable(merged(attempt.pieces))


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
