"""Images and sounds in messages, as LangChain's content blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from rlm_graph.models.names import model_name
from rlm_graph.models.prices import Medium, reads

_MEDIA: dict[str, Medium] = {"image": "image", "image_url": "image", "audio": "audio", "input_audio": "audio"}
"""By the `type` of a block, LangChain's or OpenAI's."""
_WORDS = {"image": "does not read images", "audio": "does not hear sounds"}


def media_block(url: str) -> dict[str, Any]:
    """Return the content block of an image or a sound that is given as a data URL."""
    head, _, data = url.partition(",")
    mime_type = head.removeprefix("data:").partition(";")[0]
    return {"type": mime_type.partition("/")[0], "base64": data, "mime_type": mime_type}


def media_of(messages: Sequence[BaseMessage]) -> set[Medium]:
    """Return what kinds of media the messages hold."""
    blocks = [block for message in messages if isinstance(message.content, list) for block in message.content]
    kinds = (_MEDIA.get(str(block.get("type"))) for block in blocks if isinstance(block, dict))
    return {kind for kind in kinds if kind is not None}


def unreadable(model: BaseChatModel, messages: Sequence[BaseMessage]) -> str | None:
    """Say what of the messages the model is known not to read; None if it may read them all."""
    for medium in sorted(media_of(messages)):
        if reads(model, medium) is False:
            return f"{model_name(model)} {_WORDS[medium]}"
    return None
