"""What a model is called, and where it sends to."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel

from rlm_graph.settings import ModelSettings

DEFAULTS = ModelSettings()


def model_name(model: str | BaseChatModel) -> str:
    """Return the name that a model goes by, with its provider where it is known."""
    if isinstance(model, str):
        return model
    for attribute in ("model", "model_name", "model_id", "deployment_name"):
        name = getattr(model, attribute, None)
        if isinstance(name, str) and name:
            return name
    return model._llm_type


def base_url(model: BaseChatModel) -> str | None:
    """Return the address that a model object sends to, where it tells."""
    for attribute in ("api_base", "openai_api_base", "base_url", "anthropic_api_url"):
        address: Any = getattr(model, attribute, None)
        if isinstance(address, str) and address:
            return address
    return None
