"""Large answers: kept once, as a file beside the contexts, while the state and its checkpoints hold a reference.

So are large replies to the calls that code makes, and typed answers.

A checkpoint of SQLite's holds every channel, and a run writes its answer as the cell's, as the claimed one, as the
settled one and as a message: a text of 150 MB took 1.4 GB of the database.
"""

from __future__ import annotations

import json
from typing import Any, Literal
from weakref import WeakValueDictionary

from langchain_core.messages import AIMessage

from rlm_graph.context.store import ContextStore
from rlm_graph.errors import InputError
from rlm_graph.json_pieces import indented_json, json_pieces, weight
from rlm_graph.state import Answer, FinalAnswer, KeptValue, SubcallReply
from rlm_graph.typed_answer import TypedAnswer

MAX_CHARS = 1 << 20
"""Of an answer, as JSON or as the text that it is, that stands in the state. Each value in it counts for some."""
SHOWN_CHARS = 2_000
"""Of a larger one that stand there, for those who look at the state itself."""
_MARK = "rlm_graph_answer"
"""Key of the reference in a message, among what belongs to no provider's protocol."""

_whole: WeakValueDictionary[tuple[str, str], Answer] = WeakValueDictionary()
"""Whole answers that somebody in this process still has, by what `KeptValue` says of them."""


def kept(final: FinalAnswer, store: ContextStore) -> FinalAnswer:
    """Return the answer with its value in a file of the store, if it is a large one. Blocks.

    Raises `StorageError` where the store cannot be written.
    """
    held = _kept(final.value, store)
    if held is None:
        return final
    short = final.model_copy(update={"value": held[0], "kept": held[1]})
    short._whole = final
    return short


def kept_reply(reply: SubcallReply, store: ContextStore) -> SubcallReply:
    """Return the reply with its value, or its partial text, in a file of the store, if it is a large one. Blocks.

    Raises `StorageError` where the store cannot be written.
    """
    part = _part_of(reply)
    held = _kept(getattr(reply, part), store)
    if held is None:
        return reply
    short = reply.model_copy(update={part: held[0], "kept": held[1]})
    short._whole = reply
    return short


def whole_reply(reply: SubcallReply, store: ContextStore) -> SubcallReply:
    """Return the reply with its value. Blocks. Raises `InputError` if this machine lacks its file."""
    if reply.kept is None:
        return reply
    if reply._whole is not None:
        whole, reply._whole = reply._whole, None
        return whole
    return reply.model_copy(update={_part_of(reply): _value(reply.kept, store), "kept": None})


def kept_typed(typed: TypedAnswer, store: ContextStore) -> TypedAnswer:
    """Return the typed answer with its value in a file, if it is large: in that of an answer of equal value. Blocks.

    Raises `StorageError` where the store cannot be written.
    """
    held = _kept(typed.value, store)
    if held is None:
        return typed
    short = TypedAnswer(value=None, kept=held[1].model_dump(mode="json"))
    short._whole = typed
    return short


def whole_typed(typed: TypedAnswer, store: ContextStore) -> TypedAnswer:
    """Return the typed answer with its value. Blocks. Raises `InputError` if this machine lacks its file."""
    if typed.kept is None:
        return typed
    return typed._whole or TypedAnswer(value=_value(KeptValue.model_validate(typed.kept), store))


def is_large(value: Any) -> bool:
    """Tell whether a value may be one that is kept in a file."""
    return weight(value, MAX_CHARS) >= MAX_CHARS


def _part_of(reply: SubcallReply) -> Literal["value", "partial"]:
    return "partial" if reply.value is None else "value"


def _kept(value: Any, store: ContextStore) -> tuple[str, KeptValue] | None:
    """Put a large value into the store and return its beginning, and where it lies; None for any other value."""
    if not is_large(value):
        return None
    text = value if isinstance(value, str) else _json(value)
    try:
        ref = store.take(text)
    except InputError:  # there is no room for it beside what is in memory: it stands where it is
        return None
    return text[:SHOWN_CHARS], KeptValue(ref=ref, form="text" if isinstance(value, str) else "json")


def whole_final(final: FinalAnswer, store: ContextStore) -> FinalAnswer:
    """Return the answer with its value. Blocks. Raises `InputError` if this machine lacks its file."""
    if final.kept is None:
        return final
    if final._whole is not None:
        answer, final._whole = final._whole, None  # LangGraph keeps the state of a run in memory after its end
        return answer
    return final.model_copy(update={"value": _value(final.kept, store), "kept": None})


def recorded(answer: Answer, kept_as: KeptValue | None) -> Answer:
    """Return what the state holds of an answer: itself, or a beginning and a reference. It knows the whole one."""
    if kept_as is None:
        return answer
    _whole[_key(kept_as)] = answer
    short = answer.model_copy(update={"value": None, "text": answer.text[:SHOWN_CHARS], "kept": kept_as})
    short._whole = answer
    return short


def message(answer: Answer, id: str) -> AIMessage:
    """Return the message that the state holds of an answer as `recorded` returned it."""
    if answer.kept is None:
        return AIMessage(answer.text, id=id)
    return AIMessage(answer.text, id=id, additional_kwargs={_MARK: answer.kept.model_dump(mode="json")})


def opened(part: Any, store: ContextStore, held: list[Answer] | None = None) -> Any:
    """Return an answer, or a message that holds one, as it is without the store; anything else as it is. Blocks.

    What was read is put into `held`: as long as the caller has that, it is not read again.
    """
    if isinstance(part, Answer) and part.kept is not None:
        answer = _opened(part, part.kept, store)
        if held is not None:
            held[:] = [answer]
        return answer
    given = part.additional_kwargs.get(_MARK) if isinstance(part, AIMessage) else None
    if given is None:
        return part
    reference = KeptValue.model_validate(given)
    rest = {key: value for key, value in part.additional_kwargs.items() if key != _MARK}
    found = _whole.get(_key(reference)) or _opened(Answer(value=None, text=""), reference, store)
    if held is not None:
        held[:] = [found]
    return part.model_copy(update={"content": found.text, "additional_kwargs": rest})


def is_kept(part: Any) -> bool:
    """Tell whether `opened` would have to read a file for it, or find what another has read."""
    if isinstance(part, Answer):
        return part.kept is not None
    if isinstance(part, TypedAnswer):
        return part.kept is not None
    return isinstance(part, AIMessage) and _MARK in part.additional_kwargs


def _opened(answer: Answer, kept_as: KeptValue, store: ContextStore) -> Answer:
    known = answer._whole or _whole.get(_key(kept_as))
    answer._whole = None  # as long as somebody has it, it is found among those that are known
    if known is not None and (known.via, known.complete) == (answer.via, answer.complete):
        return known
    value = known.value if known is not None else _value(kept_as, store)
    text = known.text if known is not None else as_text(value)
    found = answer.model_copy(update={"value": value, "text": text, "kept": None})
    found._whole = None
    _whole[_key(kept_as)] = found
    return found


def _value(kept_as: KeptValue, store: ContextStore) -> Any:
    text = store.load(store.restore(kept_as.ref))
    assert isinstance(text, str)
    return text if kept_as.form == "text" else json.loads(text)


def as_text(value: Any) -> str:
    """Return a text as it is, and any other value as JSON."""
    return value if isinstance(value, str) else indented_json(value)


def _json(value: Any) -> str:
    return "".join(json_pieces(value, ensure_ascii=False))


def _key(kept_as: KeptValue) -> tuple[str, str]:
    return kept_as.ref.sha256, kept_as.form
