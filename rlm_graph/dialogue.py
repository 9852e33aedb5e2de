"""The conversation with the root model: as much of it is sent as the model can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from rlm_graph.errors import ModelError
from rlm_graph.models import ModelReply, ReplyCache, Spent, ask
from rlm_graph.prompts import compacted, tokens

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
) -> tuple[ModelReply, int]:
    """Ask for the next message of `dialogue`; return the reply and the window that was found to hold.

    `tools` are the options of the request that name the tools, see `tool_options`.
    `questions` are the messages of the user among those of the dialogue.

    A provider that finds the request too long gets a shorter one, for nobody may know the window of a model before:
    then less than `window_tokens` comes back. Raises `ModelError`.
    """
    system, asked = SystemMessage(system_prompt), {message.id for message in questions}
    besides = [system, *([SystemMessage(json.dumps(tools, default=str))] if tools else [])]
    while True:
        messages = [system, *compacted(dialogue, questions=asked, window_tokens=window_tokens, besides=besides)]
        try:
            reply = await ask(model, messages, config=config, replies=replies, spent=spent, **(tools or {}))
        except ModelError as error:
            window_tokens = min(window_tokens, tokens(messages)) // 2
            if not error.too_long or window_tokens < LEAST_WINDOW:
                raise
        else:
            return reply, window_tokens
