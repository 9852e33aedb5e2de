"""Replies that are kept on request, so that an equal request need not be paid for again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.serde.base import SerializerProtocol

from rlm_graph.errors import Hint
from rlm_graph.langgraph_internals import strict_serializer
from rlm_graph.models.names import base_url, model_name
from rlm_graph.settings import Settings
from rlm_graph.storage.data_folder import DataFolder
from rlm_graph.storage.encryption import Cipher
from rlm_graph.storage.sqlite import make_private

NAMESPACE = ("rlm_graph", "replies")


@dataclass(frozen=True)
class ReplyCache:
    """A LangGraph cache for the replies of models. Equal requests to one model get one reply."""

    cache: BaseCache[Any]
    ttl_s: int | None = None
    """Seconds for which a reply is kept; None keeps it for good."""

    async def find(
        self, model: BaseChatModel, messages: Sequence[BaseMessage], options: Mapping[str, Any]
    ) -> AIMessage | None:
        """Return the reply that an equal request got."""
        key = (NAMESPACE, _key(model, messages, options))
        kept = (await self.cache.aget([key])).get(key)
        return None if kept is None else AIMessage.model_validate(kept)

    async def keep(
        self, model: BaseChatModel, messages: Sequence[BaseMessage], options: Mapping[str, Any], reply: AIMessage
    ) -> None:
        """Keep the reply."""
        kept = reply.model_dump(mode="json", exclude={"id"})
        await self.cache.aset({(NAMESPACE, _key(model, messages, options)): (kept, self.ttl_s)})


def _key(model: BaseChatModel, messages: Sequence[BaseMessage], options: Mapping[str, Any]) -> str:
    """Name a request by all that its reply depends on."""
    said = [message.model_dump(mode="json", exclude={"id"}) for message in messages]
    content = [model_name(model), base_url(model), getattr(model, "temperature", None), said, dict(options)]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def cache_of(settings: Settings) -> BaseCache[Any] | None:
    """Return the cache that the settings ask for: a file in the data folder, encrypted where runs are. None without."""
    if settings.models.cache_ttl_s is None:
        return None
    from langgraph.cache.sqlite import SqliteCache

    path = DataFolder(settings.data_dir).replies(encrypted=settings.encrypt)
    serde: SerializerProtocol = strict_serializer(())  # replies are kept as plain JSON
    if settings.encrypt:
        serde = Cipher.from_environment().serializer(serde)
    make_private(path, Hint("set_data_dir"))
    return SqliteCache(path=str(path), serde=serde)
