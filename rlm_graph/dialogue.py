"""The conversation with the root model: as much of it is sent as the model can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from rlm_graph.errors import ModelError
from rlm_graph.models import ModelReply, ReplyCache, Spent, affordable_tokens, ask
from rlm_graph.per_message import OncePerMessage
from rlm_graph.prompts import compacted, tokens

NO_WORDS = "(no words)"
"""Stands for what the model said where it said nothing: several providers refuse an assistant message that is empty,
and some refuse two messages of a user in a row, so the reply cannot be left out."""

LEAST_WINDOW = 512
"""Tokens of a window that is given up on: hardly more than the rules of a reply would fit into it."""


async def converse(
    model: BaseChatModel,
    system_prompt: str,
    dialogue: Sequence[AnyMessage],
    *,
    questions: Sequence[AnyMessage],
    window_tokens: int,
    tools: Mapping[str, Any] | None = None,
    config: RunnableConfig | None = None,
    replies: ReplyCache | None = None,
    spent: Spent | None = None,
    left_usd: float | None = None,
) -> tuple[ModelReply, int]:
    """Ask for the next message of `dialogue`; return the reply and the window that was found to hold.

    `tools` are the options of the request that name the tools, see `tool_options`.
    `questions` are the messages of the user among those of the dialogue. `left_usd` is what the reply may cost, as far
    as `affordable_tokens` can hold it.

    A provider that finds the request too long gets a shorter one, for nobody may know the window of a model before:
    then less than `window_tokens` comes back. Raises `ModelError`.
    """
    system, asked = _rules(system_prompt), {message.id for message in questions}
    besides = [system, *([SystemMessage(json.dumps(tools, default=str))] if tools else [])]
    said = list(dialogue) if all(_can_be_sent.each(dialogue)) else list(map(spoken, dialogue))
    while True:
        messages = [system, *compacted(said, questions=asked, window_tokens=window_tokens, besides=besides)]
        limit = affordable_tokens(model, messages, left_usd)
        options = {**(tools or {}), **({} if limit is None else {"max_tokens": limit})}
        try:
            reply = await ask(model, messages, config=config, replies=replies, spent=spent, **options)
        except ModelError as error:
            window_tokens = min(window_tokens, tokens(messages)) // 2
            if not error.too_long or window_tokens < LEAST_WINDOW:
                raise
        else:
            return reply, window_tokens


def spoken(message: AnyMessage) -> AnyMessage:
    """Return the message as a provider takes it: a reply with neither text nor tool calls says that it has no words.

    Thinking beside it stays. A call whose arguments could not be read does not count: not every client sends it back.
    """
    if not isinstance(message, AIMessage) or _can_be_sent(message):
        return message
    if isinstance(message.content, str):
        return message.model_copy(update={"content": NO_WORDS})
    kept = [block for block in message.content if not isinstance(block, str) and block.get("type") != "text"]
    return message.model_copy(update={"content": [*kept, {"type": "text", "text": NO_WORDS}]})


_can_be_sent = OncePerMessage(
    lambda message: not isinstance(message, AIMessage) or bool(message.tool_calls or message.text.strip())
)


@lru_cache(maxsize=64)
def _rules(system_prompt: str) -> SystemMessage:
    """Return the same message for the same rules, so that it is measured and encoded once."""
    return SystemMessage(system_prompt)
