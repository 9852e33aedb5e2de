"""What a request has spent that did not end as it should."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.utils import count_tokens_approximately

from rlm_graph.budget import Usage
from rlm_graph.models.prices import rates


@dataclass(eq=False)
class Attempt:
    """One request, while it is under way."""

    sent: bool = False
    """Whether the provider may have begun to work, and so to charge."""
    pieces: list[AIMessage] = field(default_factory=list)
    """Of the reply, as they came."""

    def spent(self, model: BaseChatModel, messages: Sequence[BaseMessage]) -> Usage:
        """Return what the request has cost by now, as far as can be told; nothing if it was never sent.

        What the provider stated counts; without, both sides are estimated from the texts, as no provider says what a
        reply costs that nobody has waited for.
        """
        stated = next(
            (piece.usage_metadata for piece in reversed(self.pieces) if is_stated(piece.usage_metadata)), None
        )
        if not self.sent and not self.pieces:
            return Usage()
        tokens = stated or estimated(messages, self.pieces)
        prices = rates(model)
        cost = 0.0 if prices is None else prices[0] * tokens["input_tokens"] + prices[1] * tokens["output_tokens"]
        return Usage(
            input_tokens=tokens["input_tokens"],
            output_tokens=tokens["output_tokens"],
            cost_usd=cost,
            unpriced_calls=int(prices is None),
            estimated_calls=1,
        )


under_way: contextvars.ContextVar[Attempt | None] = contextvars.ContextVar("rlm_graph_attempt", default=None)
"""The attempt that `ask` makes, for a client that knows better than `ask` whether the request was sent."""


def is_stated(tokens: UsageMetadata | None) -> bool:
    """Tell whether these are counts: some servers state zeros or worse instead of none."""
    return tokens is not None and min(tokens["input_tokens"], tokens["output_tokens"]) >= 0 < sum(
        (tokens["input_tokens"], tokens["output_tokens"])
    )


def estimated(messages: Sequence[BaseMessage], pieces: Sequence[AIMessage]) -> UsageMetadata:
    """Return the tokens that LangChain estimates for a request and the pieces of its reply."""
    given = count_tokens_approximately(messages)
    thoughts = "".join(str(piece.additional_kwargs.get("reasoning_content", "")) for piece in pieces)
    said = "".join(piece.text for piece in pieces)
    calls = "".join(
        str(call["args"])
        for piece in pieces
        for call in (getattr(piece, "tool_call_chunks", None) or [*piece.tool_calls, *piece.invalid_tool_calls])
    )
    written = count_tokens_approximately([AIMessage(said + thoughts + calls)]) if said or thoughts or calls else 0
    return UsageMetadata(input_tokens=given, output_tokens=written, total_tokens=given + written)
