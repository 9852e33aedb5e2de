"""litellm's chat model, with the end of a stream as the provider sent it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_litellm import ChatLiteLLM

from rlm_graph.models.errors import EmptyStream, ServerError


class LiteLLMChat(ChatLiteLLM):
    """`ChatLiteLLM`, but a stream that ends before the reply does is an error, as a broken connection is."""

    async def acompletion_with_retry(self, run_manager: Any = None, **kwargs: Any) -> Any:
        """Make the request; a stream is watched to its end."""
        answer = await super().acompletion_with_retry(run_manager=run_manager, **kwargs)
        return _watched(answer) if hasattr(answer, "received_finish_reason") else answer


async def _watched(stream: Any) -> AsyncIterator[Any]:
    """Yield what a stream of litellm's yields. Raises `ServerError` if no provider has said that it is over.

    litellm then makes up a `finish_reason` of its own (`CustomStreamWrapper.finish_reason_handler`), and what it has
    received stays None.
    """
    something = False
    async for chunk in stream:
        something = something or any(_says_anything(choice.delta) for choice in chunk.choices)
        yield chunk
    if stream.received_finish_reason is None:
        raise ServerError("the stream ended before the reply did") if something else EmptyStream("no message came")


def _says_anything(delta: Any) -> bool:
    return any(getattr(delta, name, None) for name in ("content", "tool_calls", "reasoning_content", "function_call"))
