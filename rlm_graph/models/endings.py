"""How a reply ended: whole, or not."""

from __future__ import annotations

from typing import Literal

from langchain_core.messages import AIMessage

from rlm_graph.thinking import without_thinking

Ending = Literal["complete", "cut", "filtered", "refused", "empty"]
"""`complete`: the model was done. `cut`: it met the limit of tokens. `filtered`: the provider held words back.
`refused`: the model declined, in a field of its own. `empty`: there is nothing to read but, perhaps, thinking."""

# As OpenAI, Anthropic, Gemini, Bedrock, Cohere and Mistral name them; compared in lower case.
_CUT = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "error_limit"}
)
_FILTERED = frozenset(
    {
        "content_filter", "content_filtered", "guardrail_intervened", "safety", "recitation", "blocklist",
        "prohibited_content", "spii", "image_safety", "error_toxic", "language", "sensitive",
    }
)  # fmt: skip
_REFUSED = frozenset({"refusal"})


def ending(message: AIMessage) -> Ending:
    """Tell how the reply ended, from what the provider said of it and from what it holds.

    What stopped the model comes before what is missing: a reply that thinking has used up is `cut`, not `empty`.
    """
    told = message.response_metadata
    reason = str(told.get("finish_reason") or told.get("stop_reason") or told.get("stopReason") or "").lower()
    if reason in _CUT:
        return "cut"
    if reason in _FILTERED:
        return "filtered"
    if reason in _REFUSED or _refusal(message):
        return "refused"
    if message.tool_calls or message.invalid_tool_calls:
        return "complete"
    return "complete" if without_thinking(message.text).strip() else "empty"


_WORDS: dict[Ending, str] = {
    "cut": "the reply was cut at the limit of tokens",
    "filtered": "the provider held the reply back, or a part of it",
    "refused": "the model refused",
    "empty": "the reply was empty",
}
_MAX_REFUSAL = 500
"""Characters of a refusal that are told."""


def not_whole(message: AIMessage, ending: Ending) -> str:
    """Say why a reply that ended so is no answer, with the words in which the model refused."""
    refusal = _refusal(message)
    return f"{_WORDS[ending]}: {refusal[:_MAX_REFUSAL]}" if ending == "refused" and refusal else _WORDS[ending]


def _refusal(message: AIMessage) -> str:
    """Return what stands in the field that OpenAI has for a refusal."""
    aside = message.additional_kwargs
    # litellm puts it among what is the provider's own; of a stream it loses it.
    return str(aside.get("refusal") or (aside.get("provider_specific_fields") or {}).get("refusal") or "")
