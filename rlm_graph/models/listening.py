"""Who hears a reply while it comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, BaseCallbackManager
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

_DEAF = frozenset({"langchain_core.callbacks.base", "langchain_core.tracers.base", "langchain_core.tracers.langchain"})
"""Where the handlers come from that do nothing with a token, or only note when the first one came."""


def streams(model: BaseChatModel, config: RunnableConfig | None, options: Mapping[str, Any]) -> bool:
    """Tell whether a request should be answered in a stream: as the model was set up, else where somebody listens."""
    if model.disable_streaming is True or (model.disable_streaming == "tool_calling" and options.get("tools")):
        return False
    chosen = getattr(model, "streaming", None) if "streaming" in model.model_fields_set else None
    return bool(chosen) if chosen is not None else listened_to(config)


def listened_to(config: RunnableConfig | None) -> bool:
    """Tell whether a handler among the callbacks of `config`, or of what runs around, wants tokens as they come.

    LangGraph's `messages` stream and LangChain's events come in as handlers of that kind.
    """
    callbacks = ensure_config(config).get("callbacks")
    handlers = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or []
    return any(map(_wants_tokens, handlers))


def is_unobserved(model: BaseChatModel, config: RunnableConfig | None) -> bool:
    """Tell whether LangChain has nothing to do around a request: no handler hears of it, and nothing keeps replies.

    Tracers that the environment turns on, and handlers of a context, such as one that counts tokens, are handlers too.
    """
    if model.rate_limiter is not None or model.cache not in (None, False) or get_llm_cache() is not None:
        return False
    callbacks = ensure_config(config).get("callbacks")
    return not AsyncCallbackManager.configure(callbacks, model.callbacks, model.verbose).handlers


def _wants_tokens(handler: BaseCallbackHandler) -> bool:
    if hasattr(handler, "tap_output_aiter"):
        return True  # LangChain's mark of a handler that streams
    return any(getattr(handler, name).__module__ not in _DEAF for name in ("on_llm_new_token", "on_stream_event"))
