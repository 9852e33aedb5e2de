"""Long messages → short ones, with their material in the context store.

Supervisors, deep agents and front ends of chats hand over messages and nothing else. The rule: a text file in a message
is a context, and so is the text of a message that would take more than an eighth of the root model's window. The
question stays in the message. What was taken out is marked there, and the model is told of both.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.utils import convert_to_messages

from rlm_graph.agents.file_blocks import text_file
from rlm_graph.agents.splitting import split
from rlm_graph.errors import InputError
from rlm_graph.prompts.compacting import CHARS_PER_TOKEN
from rlm_graph.state import FROM_MESSAGE, ContextRef

SHARE = 1 / 8
"""Of the root model's window: a message whose text takes more of it is too long to be sent with every turn."""
LEAST_CHARS = 4_000
"""A message of fewer characters is never too long."""
EXCERPT_CHARS = 600
"""Of the beginning and the end of a text that are shown where nothing says which part of it is the question."""

Take = Callable[[object], ContextRef]


def most_chars(window_tokens: int) -> int:
    """Return how many characters of text a message may have, for a model with that window."""
    return max(LEAST_CHARS, int(window_tokens * SHARE * CHARS_PER_TOKEN))


@dataclass(frozen=True)
class ShortMessages:
    """Messages as the state holds them."""

    messages: list[Any]
    contexts: Sequence[ContextRef]
    """What was taken out of them, in order."""
    given: Mapping[str, BaseMessage]
    """The messages that were shortened, as they were given, by their ids."""


def shortened(messages: Iterable[Any], max_chars: int, take: Take) -> ShortMessages:
    """Put the material of long messages into the store by `take`, and marks in its place.

    Whatever is no message stays as it is, for LangGraph to refuse. Raises `InputError` for a text that cannot be taken
    in.
    """
    read = [_message(one) for one in messages]
    kept: list[Any] = []
    contexts: list[ContextRef] = []
    given: dict[str, BaseMessage] = {}
    for one in read:
        # What the model has said itself is an answer of an earlier question, and no material.
        whole = not isinstance(one, BaseMessage) or isinstance(one, AIMessage)
        short = None if whole else _Shortening(one, max_chars, take).message()
        if short is None:
            kept.append(one)
            continue
        message, ref = short
        kept.append(message)
        contexts.append(ref)
        given[str(message.id)] = one.model_copy(update={"id": message.id})
    return ShortMessages(kept, contexts, given)


def _message(given: Any) -> Any:
    """Return the message that a caller has written as a text, a pair or a dict; anything else as it is."""
    if isinstance(given, BaseMessage) or not isinstance(given, str | tuple | list | dict):
        return given
    try:
        return convert_to_messages([given])[0]
    except (ValueError, NotImplementedError, TypeError, KeyError):
        return given


@dataclass(frozen=True)
class _Piece:
    name: str
    content: str | bytes
    before: str = ""
    after: str = ""
    excerpt: bool = False


class _Shortening:
    """One message on its way. What becomes of it depends on nothing else: whoever sends it again edits nothing."""

    def __init__(self, message: BaseMessage, max_chars: int, take: Take) -> None:
        self._message = message
        self._max_chars = max_chars
        self._take = take
        content = message.content
        self._blocks: list[Any] = [content] if isinstance(content, str) else list(content)

    def message(self) -> tuple[BaseMessage, ContextRef] | None:
        """Return the message without its material, and the material; None if there is nothing to take out."""
        pieces = self._pieces()
        if not pieces:
            return None
        try:
            ref = self._take(_together(list(pieces.values())))
        except InputError:
            # A file without a type turned out to be no text: the model may know what to do with it.
            unsure = {at for at, piece in pieces.items() if isinstance(piece.content, bytes)}
            pieces = {at: piece for at, piece in pieces.items() if at not in unsure}
            if not unsure:
                raise
            if not pieces:
                return None
            ref = self._take(_together(list(pieces.values())))
        label = f"text {ref.sha256[:8]}"
        alone = len(pieces) == 1
        words = {at: _marked(piece, ref, label, alone=alone) for at, piece in pieces.items()}
        content = self._message.content
        short: Any = (
            words[0]
            if isinstance(content, str)
            else [
                {"type": "text", "text": f"{words[at]}\n\n"} if at in words else block
                for at, block in enumerate(self._blocks)
            ]
        )
        message = self._message.model_copy(update={"content": short, "id": self._message.id or str(uuid.uuid4())})
        told = f"{FROM_MESSAGE} ({label})"
        return message, ref.model_copy(update={"notes": (told, *ref.notes), "source": ""})

    def _pieces(self) -> dict[int, _Piece]:
        files = {
            at: _Piece(file.name, file.content)
            for at, block in enumerate(self._blocks)
            if isinstance(block, Mapping) and (file := text_file(block)) is not None and file.content
        }
        texts = {at: text for at, block in enumerate(self._blocks) if (text := _text(block)) is not None}
        taken: list[int] = []
        while sum(len(text) for at, text in texts.items() if at not in taken) > self._max_chars:
            taken.append(max((at for at in texts if at not in taken), key=lambda at: len(texts[at])))
        beside = any(text.strip() for at, text in texts.items() if at not in taken)
        for at in taken:
            files[at] = self._material(texts[at], alone=len(taken) == 1 and not beside and not files)
        return dict(sorted(files.items()))

    def _material(self, text: str, *, alone: bool) -> _Piece:
        apart = split(text) if alone and isinstance(self._message, HumanMessage) else None
        if apart is None or len(apart.before) + len(apart.after) > self._max_chars or not apart.material.strip():
            return _Piece("", text, excerpt=True)
        return _Piece("", apart.material, apart.before, apart.after)


def _text(block: Any) -> str | None:
    if isinstance(block, str):
        return block
    if isinstance(block, Mapping) and block.get("type") in ("text", "input_text", "output_text"):
        text = block.get("text")
        return text if isinstance(text, str) else None
    return None


def _together(pieces: Sequence[_Piece]) -> object:
    """Return the pieces as one context: a text, or several by name."""
    if len(pieces) == 1:
        return pieces[0].content
    return dict(zip(_names(pieces), (piece.content for piece in pieces), strict=True))


def _names(pieces: Sequence[_Piece]) -> list[str]:
    names: list[str] = []
    for number, piece in enumerate(pieces, start=1):
        name = piece.name or f"text {number}"
        names.append(name if name not in names else f"{name} ({number})")
    return names


def _marked(piece: _Piece, ref: ContextRef, label: str, *, alone: bool) -> str:
    """Return what stands in the message in the place of a piece."""
    what = f"The file {piece.name!r}" if piece.name else "A text"
    size = f" of {len(piece.content):,} characters" if isinstance(piece.content, str) else ""
    size = f" of {ref.chars:,} characters" if alone else size
    mark = f"[{what}{size} stood here. All of it is in the REPL: a context, {label}.]"
    if not piece.excerpt:
        return "\n\n".join(filter(None, (piece.before, mark, piece.after)))
    assert isinstance(piece.content, str)
    head, tail = piece.content[:EXCERPT_CHARS], piece.content[-EXCERPT_CHARS:]
    return f"{mark}\n\nIt begins:\n{head}\n\nIt ends:\n{tail}"
