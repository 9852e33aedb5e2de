"""What was said in a run: each question with the replies of the model, what became of their code, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from rlm_graph.bridge import in_thread
from rlm_graph.calls.record import record
from rlm_graph.context import ContextStore
from rlm_graph.context.kept_answers import whole_reply
from rlm_graph.langgraph_internals import joined
from rlm_graph.state import SubcallReply, Turn
from rlm_graph.storage.runs import Runs
from rlm_graph.value import Value


class Said(Value):
    """One reply of the root model."""

    text: str
    """Whole, with its code."""
    turn: Turn | None = None
    """What its code did; None if it held none."""


class Exchange(Value):
    """A question and all that was said about it."""

    question: str
    said: tuple[Said, ...] = ()
    answer: str | None = None
    """As the conversation has it; None while there is none."""


def exchanges(state: Mapping[str, Any], question: str) -> tuple[Exchange, ...]:
    """Read a run's state, oldest question first. `question` is what it was started with, where nothing is recorded."""
    messages: Sequence[AnyMessage] = state.get("messages", ())
    asked = {message.id: message for message in messages if isinstance(message, HumanMessage)}
    answers = _answers(messages)
    turns = list(state.get("turns", ()))
    found: list[tuple[str | None, str, list[Said]]] = []
    for message in state.get("dialogue", ()):
        if isinstance(message, HumanMessage) and message.id in asked:
            found.append((message.id, asked[message.id].text, []))
        elif isinstance(message, AIMessage):
            if not found:  # the question was removed from the conversation
                found.append((None, question, []))
            found[-1][2].append(Said(text=message.text, turn=_turn_of(message, turns)))
    if turns:  # of replies that are not in the dialogue any more
        found = found or [(None, question, [])]
        found[-1][2].extend(Said(text="", turn=turn) for turn in turns)
    if not found:
        return (Exchange(question=question),)
    return tuple(Exchange(question=text, said=tuple(said), answer=answers.get(id)) for id, text, said in found)


def last_question(state: Mapping[str, Any], question: str) -> str:
    """Return what the run was asked last; `question` is what it was started with, where nothing is recorded."""
    asked = [message for message in state.get("messages", ()) if isinstance(message, HumanMessage)]
    return asked[-1].text if asked else question


async def call_replies(
    runs: Runs, run: str, turns: Sequence[Turn], contexts: ContextStore
) -> dict[str, tuple[SubcallReply, ...]]:
    """Return what the calls of these turns were answered, by the namespaces of their records.

    Large replies lie in `contexts`: `InputError` if that is the folder of another machine.
    """
    found = {}
    for act, name in ((turn.namespace, call.record) for turn in turns for call in turn.calls if call.record):
        kept = await record(runs.saver, run, act, name)
        replies = {} if kept is None else kept.replies
        found[joined(act, name)] = tuple([
            await in_thread(whole_reply, reply, contexts) if reply.kept else reply
            for _, reply in sorted(replies.items())
        ])  # fmt: skip
    return found


def _turn_of(message: AIMessage, turns: list[Turn]) -> Turn | None:
    """Take the turn of this reply out of those that are left, which are in the order of the replies."""
    if not turns:
        return None
    codes = [execution.code.strip() for execution in turns[0].executions]
    is_its = message.tool_calls or any(code in message.text for code in codes) or _was_edited(turns[0])
    return turns.pop(0) if is_its else None


def _was_edited(turn: Turn) -> bool:
    return any("edited your code" in note for note in turn.notes)


def _answers(messages: Sequence[AnyMessage]) -> dict[str | None, str]:
    """Return the last answer after each question, by the question's id."""
    answers: dict[str | None, str] = {}
    question: str | None = None
    for message in messages:
        if isinstance(message, HumanMessage):
            question = message.id
        elif isinstance(message, AIMessage):
            answers[question] = message.text
    return answers
