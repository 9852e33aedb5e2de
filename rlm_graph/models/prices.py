"""What a reply cost, and what a model can take, as far as anybody knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from rlm_graph.models.costs import listed_cost
from rlm_graph.models.library import facts
from rlm_graph.models.names import DEFAULTS, model_name
from rlm_graph.settings import ModelPrice, ModelSettings

_PROVIDERS = {
    "amazon_bedrock": "bedrock",
    "fireworks": "fireworks_ai",
    "google_genai": "gemini",
    "google_vertexai": "vertex_ai",
    "mistralai": "mistral",
    "together": "together_ai",
}
"""LangChain's name of a provider, where litellm has another."""


def has_price(model: str | BaseChatModel, settings: ModelSettings = DEFAULTS) -> bool:
    """Tell whether the cost of a reply can be known. A price of zero is a price."""
    if members := _members(model, settings):
        return all(has_price(member, settings) for member in members)
    if isinstance(model, str) and model in settings.prices:
        return True
    return own_price(model) is not None or _prices(model) is not None


def window(model: str | BaseChatModel, settings: ModelSettings = DEFAULTS) -> int:
    """Return how many tokens fit into one request, from the model's own profile, litellm's list or the settings.

    Of a pool, as many as fit with each of its members; where the one that fits is chosen, with the largest.
    """
    if members := _members(model, settings):
        windows = [window(member, settings) for member in members]
        return max(windows) if _policy(model, settings) == "cheapest" else min(windows)
    described: dict[str, Any] = {} if isinstance(model, str) else dict(model.profile or {})
    listed = _listed(model)
    known = described.get("max_input_tokens") or (listed[1].get("max_input_tokens") if listed else None)
    return int(known) if known else settings.window_tokens


def longest_reply(model: BaseChatModel) -> int | None:
    """Return how many tokens a reply has at most: as the model object is set up, or else as the model can write.

    None if nobody knows.
    """
    set_up = getattr(model, "max_tokens", None) or getattr(model, "max_output_tokens", None)
    if isinstance(set_up, int):
        return set_up
    listed = _listed(model)
    described = (model.profile or {}).get("max_output_tokens") or (listed and listed[1].get("max_output_tokens"))
    return int(described) if described else None


Medium = Literal["image", "audio"]


def reads(model: str | BaseChatModel, medium: Medium) -> bool | None:
    """Tell whether the model reads images, or hears sounds; None if nobody knows. Of a pool, whether a member does."""
    if members := _members(model, DEFAULTS):
        known = [reads(member, medium) for member in members]
        return True if True in known else None if None in known else False
    described = {} if isinstance(model, str) else dict(model.profile or {})
    told = described.get(f"{medium}_inputs")
    if told is not None:
        return bool(told)
    listed = _listed(model)
    ability = "supports_vision" if medium == "image" else "supports_audio_input"
    return None if listed is None else bool(listed[1].get(ability))


async def cost_usd(model: BaseChatModel, message: AIMessage, tokens: UsageMetadata) -> float | None:
    """Return what the reply cost in US dollars, or None if nobody knows its price.

    In this order: the price that the settings give the model, the cost that the provider or litellm named in the
    reply, litellm's list (with its prices for cached tokens and long prompts).
    """
    price = own_price(model)
    if price is not None:
        return (tokens["input_tokens"] * price.input_usd + tokens["output_tokens"] * price.output_usd) / 1_000_000
    named = message.response_metadata.get("response_cost")
    if isinstance(named, int | float) and named > 0:
        return float(named)
    priced = _prices(model)
    if priced is None:
        return None
    key, input_price, output_price = priced
    if not input_price and not output_price:
        return 0.0
    return await listed_cost(key, facts(key) or {}, tokens)


def rates(model: BaseChatModel) -> tuple[float, float] | None:
    """Return the price of a token that is read and of one that is written, in US dollars; None if nobody knows."""
    price = own_price(model)
    if price is not None:
        return price.input_usd / 1_000_000, price.output_usd / 1_000_000
    listed = _prices(model)
    return None if listed is None else listed[1:]


def _members(model: str | BaseChatModel, settings: ModelSettings) -> Sequence[str | BaseChatModel]:
    if isinstance(model, str):
        return settings.pools[model].models if model in settings.pools else ()
    members: Sequence[BaseChatModel] = getattr(model, "members", ())
    return members


def _policy(model: str | BaseChatModel, settings: ModelSettings) -> str:
    return settings.pools[model].policy if isinstance(model, str) else str(getattr(model, "policy", ""))


def own_price(model: str | BaseChatModel) -> ModelPrice | None:
    """Return the price that a model object carries in its metadata, as `{"price": {"input_usd", "output_usd"}}`."""
    given = None if isinstance(model, str) else (model.metadata or {}).get("price")
    return None if given is None else ModelPrice.model_validate(given)


def _prices(model: str | BaseChatModel) -> tuple[str, float, float] | None:
    listed = _listed(model)
    if listed is None:
        return None
    key, entry = listed
    prices = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    return None if None in prices else (key, float(prices[0] or 0), float(prices[1] or 0))


def _listed(model: str | BaseChatModel) -> tuple[str, dict[str, Any]] | None:
    """Find the model in litellm's list, which holds some models with their provider and some without.

    litellm's own lookup is no help: for Ollama it asks the server.
    """
    name = model_name(model)
    provider, slash, bare = name.partition("/")
    if not slash:
        provider, bare = _provider(model), name
    for key in dict.fromkeys((name, f"{provider}/{bare}", bare)):
        entry = facts(key)
        if entry is not None and str(entry.get("litellm_provider", "")).startswith(provider):
            return key, entry
    return None


def _provider(model: str | BaseChatModel) -> str:
    if isinstance(model, str):
        return ""
    named = str(model._get_ls_params().get("ls_provider") or "")
    return _PROVIDERS.get(named, "" if named == "litellm" else named)
