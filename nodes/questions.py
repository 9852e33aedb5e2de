"""Which message of the conversation is the question, whatever a front end has removed from it or edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from langchain_core.messages import AnyMessage, HumanMessage

from rlm_graph.channels import RLMState
from rlm_graph.errors import InputError

NONE = "there is no question: give `question`, or a human message"


def mark_of(question: HumanMessage) -> str:
    """Return what tells this question from all others, and from itself as it was before somebody edited it."""
    content = json.dumps(question.content, sort_keys=True, default=str)
    return f"{question.id}:{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def new_question(state: RLMState) -> tuple[Sequence[AnyMessage], HumanMessage] | None:
    """Return the question that is to be worked on now, after the messages that came with it; None if there is no other.

    The last message of a human is a new question if the dialogue does not hold it, if it was edited, or if it was
    answered and nothing stands below it any more: then it is asked again. Raises `InputError` for messages that hold
    no question, and for one that is empty.
    """
    messages = state.get("messages", [])
    if "asked" not in state:
        seen = min(state.get("seen", 0), len(messages))
        if len(messages) <= state.get("seen", 0) and not (messages and _is_open(state, messages)):
            return None
        return _split(messages[seen:] or messages[-1:])
    last = next((at for at in range(len(messages) - 1, -1, -1) if isinstance(messages[at], HumanMessage)), None)
    question = None if last is None else messages[last]
    if last is None or not isinstance(question, HumanMessage) or not _is_new(state, question):
        if _has_more(state):
            raise InputError(NONE)
        return None
    before = {message.id: at for at, message in enumerate(messages[:last])}
    asked = state["asked"].rpartition(":")[0]
    start = before.get(state.get("told"), before.get(asked, last - 1)) + 1
    return _split(messages[start : last + 1])


def _is_new(state: RLMState, question: HumanMessage) -> bool:
    dialogue = state.get("dialogue", ())
    if not any(message.id == question.id for message in dialogue if isinstance(message, HumanMessage)):
        return True
    if question.id == state["asked"].rpartition(":")[0] and mark_of(question) != state["asked"]:
        return True
    return _is_open(state, state["messages"])


def _is_open(state: RLMState, messages: Sequence[AnyMessage]) -> bool:
    """Tell whether the run has ended, and yet a question stands at the end of the conversation."""
    return state.get("answer") is not None and isinstance(messages[-1], HumanMessage)


def _has_more(state: RLMState) -> bool:
    """Tell whether messages came after the answer, none of them a question."""
    ids = [message.id for message in state.get("messages", ())]
    return state.get("answer") is not None and state.get("told") in ids[:-1]


def _split(new: Sequence[AnyMessage]) -> tuple[Sequence[AnyMessage], HumanMessage]:
    for index in range(len(new) - 1, -1, -1):
        message = new[index]
        if isinstance(message, HumanMessage):
            if not message.text.strip():
                raise InputError("the question is empty")
            return list(new[:index]), message
    raise InputError(NONE)
