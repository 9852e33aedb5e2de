"""litellm's chat model, with the end of a stream as the provider sent it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from langchain_litellm import ChatLiteLLM

from rlm_graph.models.errors import EmptyStream, ServerError

_NOT_READ = re.compile(
    r"Invalid response object|(?:Expecting value|Extra data): line \d+ column \d+|codec can't decode byte"
)
"""How litellm says that it could not make out a reply."""


class LiteLLMChat(ChatLiteLLM):
    """`ChatLiteLLM`, but a stream that ends before the reply does is an error, as a broken connection is."""

    async def acompletion_with_retry(self, run_manager: Any = None, **kwargs: Any) -> Any:
        """Make the request; a stream is watched to its end. Raises `ServerError` for what is no reply."""
        try:
            answer = await super().acompletion_with_retry(run_manager=run_manager, **kwargs)
        except Exception as error:
            if (unread := _NOT_READ.search(str(error))) is None:
                raise
            raise ServerError(
                f"the server's reply is not one that litellm can read ({unread[0]}); is that a web page, or a base URL "
                "without its /v1?"
            ) from error
        if isinstance(getattr(answer, "choices", None), list) and not answer.choices:
            raise ServerError("the reply held no message")
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
