"""How long a reply may be under a ceiling on cost."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately

from rlm_graph.models.prices import longest_reply, rates

LEAST_TOKENS = 2_048
"""Tokens that every reply may have, even if the money for them is not there: a shorter reply is often no use, and was
paid for all the same. By the price of so many a request may overspend."""
SAFE_TOKENS = 4_096
"""A limit that models take whose own is not known. A request for more than a model can write is refused by some."""


def affordable_tokens(model: BaseChatModel, messages: Sequence[BaseMessage], left_usd: float | None) -> int | None:
    """Return the `max_tokens` with which a request costs no more than `left_usd` US dollars, at least `LEAST_TOKENS`.

    None where nothing need be said: without a ceiling, for a model whose price is unknown or zero, and while the model
    would stop by itself before the money ends. What is sent is counted by LangChain's estimate. Of a pool, the bound
    that holds for each member.
    """
    if left_usd is None:
        return None
    members: Sequence[BaseChatModel] = getattr(model, "members", ())
    if members:
        bounds = [affordable_tokens(member, messages, left_usd) for member in members]
        return min((bound for bound in bounds if bound is not None), default=None)
    prices = rates(model)
    if prices is None or prices[1] <= 0:
        return None
    read_usd, written_usd = prices
    affordable = int((left_usd - read_usd * count_tokens_approximately(messages)) / written_usd)
    bound = max(affordable, LEAST_TOKENS)
    return bound if bound < (longest_reply(model) or SAFE_TOKENS) else None
