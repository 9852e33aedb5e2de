"""The pieces of a streamed reply, put together."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.tool import invalid_tool_call

from rlm_graph.models.openai_replies import loaded


def merged(chunks: Sequence[AIMessage]) -> AIMessage:
    """Return the message that the chunks are, its tool calls as a reply would have them that was not streamed."""
    pieces = [chunk for chunk in chunks if isinstance(chunk, AIMessageChunk)]
    if len(pieces) < len(chunks):
        return chunks[-1]  # of a model that does not stream: the message itself
    # All at once: adding them up one by one copies the text for each.
    added = pieces[0] + pieces[1:]
    assert isinstance(added, AIMessageChunk)
    whole = message_chunk_to_message(added)
    assert isinstance(whole, AIMessage)
    broken = {call["id"] for call in added.tool_call_chunks if not _is_json(call["args"] or "{}")}
    if not broken.intersection(call["id"] for call in whole.tool_calls):
        return whole
    # LangChain completes arguments that were cut, as if they were all there.
    invalid = [
        invalid_tool_call(name=call["name"], args=call["args"], id=call["id"], error="the arguments are no JSON")
        for call in added.tool_call_chunks
        if call["id"] in broken
    ]
    calls = [call for call in whole.tool_calls if call["id"] not in broken]
    return whole.model_copy(update={"tool_calls": calls, "invalid_tool_calls": invalid})


def _is_json(text: str) -> bool:
    try:
        loaded(text)
    except ValueError:
        return False
    return True
