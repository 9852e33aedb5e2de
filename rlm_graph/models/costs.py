"""What a reply costs by litellm's list of prices."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages.ai import UsageMetadata

from rlm_graph.models.library import load_litellm

_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens$")
_PLAIN = frozenset(
    {
        "input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost",
        "cache_creation_input_token_cost", "search_context_cost_per_query",
    }
)  # fmt: skip
"""Prices that this module applies. The last one is for a tool that nothing here uses."""
_OTHER_TIERS = re.compile(r"_(batches|priority|flex|balanced|ultrafast|decisions)$|_above_1hr|_above_\d+k_tokens")
"""Prices of services that are asked for by name, or above a size: no reply of ours, or told apart below."""


async def listed_cost(key: str, entry: Mapping[str, Any], tokens: UsageMetadata) -> float:
    """Return the cost, in US dollars, of tokens of the model that litellm lists as `key` with `entry`.

    Prices by the token are applied here; where the list has any of another kind (by the second, by the hour of the
    day), litellm is asked, whose import takes seconds.
    """
    if all(name in _PLAIN or _OTHER_TIERS.search(name) for name in entry if "cost_per" in name or "pric" in name):
        return _by_the_token(entry, tokens)
    return await asyncio.to_thread(_by_litellm, key, tokens)


def _by_the_token(entry: Mapping[str, Any], tokens: UsageMetadata) -> float:
    given, details = tokens["input_tokens"], tokens.get("input_token_details", {})
    read, kept = details.get("cache_read") or 0, details.get("cache_creation") or 0
    steps = sorted(int(found[1]) for name in entry if (found := _ABOVE.match(name)))
    step = max((step for step in steps if given > step * 1000), default=None)

    def price(name: str, default: float = 0.0) -> float:
        if step is not None and entry.get(f"{name}_above_{step}k_tokens") is not None:
            return float(entry[f"{name}_above_{step}k_tokens"])
        return float(entry[name]) if entry.get(name) is not None else default

    for_input = price("input_cost_per_token")
    return (
        max(0, given - read - kept) * for_input
        + read * price("cache_read_input_token_cost", for_input)
        + kept * price("cache_creation_input_token_cost", for_input)
        + tokens["output_tokens"] * price("output_cost_per_token")
    )


def _by_litellm(key: str, tokens: UsageMetadata) -> float:
    litellm = load_litellm()
    read = tokens.get("input_token_details", {})
    usage = litellm.Usage(
        prompt_tokens=tokens["input_tokens"],
        completion_tokens=tokens["output_tokens"],
        total_tokens=tokens["input_tokens"] + tokens["output_tokens"],
        prompt_tokens_details={
            "cached_tokens": read.get("cache_read") or 0,
            "cache_creation_tokens": read.get("cache_creation") or 0,
        },
    )
    for_input, for_output = litellm.cost_per_token(model=key, usage_object=usage)
    return float(for_input + for_output)
