"""What calls hand over by naming it: pieces of contexts, and texts that are too long for a frame.

Whether a text is named, and how, depends on nothing but the text and the contexts: a cell that runs again makes the
same calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rlm_graph.executors.sandbox.frames import MAX_DEPTH, MAX_SENT_BYTES
from rlm_graph.executors.sandbox.worker.context import KNOWN_CHARS, Context, Piece, Pieces
from rlm_graph.executors.sandbox.worker.texts import StoredContext, StoredText

UNKNOWN_CHARS = 1 << 20
"""Of a text that is not known to be a piece of a context, from which on it is looked for, or sent beside the call."""
SEARCHED_SHARE = 64
"""How many times as long as such a text a context may be: to search a longer one takes longer than to send the text."""
INLINE_CHARS = 16 << 20
"""Of all texts in a call together; if they are more, shorter ones are named too."""
SHORT_CHARS = 1 << 10
MAX_TEXTS = 40_000
"""That a call names: what it says of them must fit among the values of its frame."""
SENT_CHARS = 1 << 20
"""Of a text in one frame."""

OWN = 0
"""Stands in the place of a context's number for what is sent beside the call."""


class Handed(NamedTuple):
    """The arguments of a call, with None in the places of texts that are named."""

    arguments: dict[str, Any]
    texts: list[dict[str, Any]]
    """Where each of these lies: `path` in the arguments, `context`, `part` of it or None for all of it, `start` and
    `bytes` within the part, `chars`."""
    sent: list[str]
    """The texts that lie in no context, one after the other."""

    def digest(self) -> str | None:
        """Return the digest of what is sent, in UTF-8; None if nothing is."""
        if not self.sent:
            return None
        digest = hashlib.sha256()
        for data in self.encoded():
            digest.update(data)
        return digest.hexdigest()

    def encoded(self) -> Iterator[bytes]:
        """Yield what is sent, in pieces for a frame each."""
        for text in self.sent:
            for start in range(0, len(text), SENT_CHARS):
                yield str.encode(text[start : start + SENT_CHARS], "utf-8", "surrogatepass")


def handed(arguments: Mapping[str, Any], contexts: Mapping[int, StoredContext]) -> Handed:
    """Take out of arguments the texts that are to be named. The arguments themselves are not changed."""
    taken = _Taking(contexts, KNOWN_CHARS, UNKNOWN_CHARS).all(arguments)
    if taken.left_chars > INLINE_CHARS:
        taken = _Taking(contexts, SHORT_CHARS, SHORT_CHARS).all(arguments)
    return taken.handed


class _Taking:
    def __init__(self, contexts: Mapping[int, StoredContext], known: int, unknown: int) -> None:
        self._contexts = contexts
        self._known, self._unknown = known, unknown
        self._open: set[int] = set()
        self._sent_bytes = 0
        self.left_chars = 0
        self.handed = Handed({}, [], [])

    def all(self, arguments: Mapping[str, Any]) -> _Taking:
        for name, value in arguments.items():
            self.handed.arguments[name] = self._taken(value, [name])
        return self

    def _taken(self, value: Any, path: list[str | int]) -> Any:
        if isinstance(value, Pieces):
            return [self._piece(each, [*path, index]) for index, each in enumerate(value.spans)]
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Context) and value.texts and (place := value.texts[0].place) is not None:
            return self._name(path, place[0], None, 0, 0, len(value))  # as good as `context`, and it is not made for it
        if not isinstance(value, (list, tuple, dict)) or len(path) > MAX_DEPTH or id(value) in self._open:
            return value
        if (number := self._whole(value)) is not None:
            return self._name(path, number, None, 0, 0, self._contexts[number].chars)
        self._open.add(id(value))
        try:
            if isinstance(value, dict):
                return {
                    key: self._taken(item, [*path, key]) if type(key) is str else item for key, item in value.items()
                }
            return [self._taken(item, [*path, index]) for index, item in enumerate(value)]
        finally:
            self._open.discard(id(value))

    def _text(self, value: str, path: list[str | int]) -> Any:
        length = len(value)
        if length >= self._known and len(self.handed.texts) < MAX_TEXTS:
            if (number := self._whole(value)) is not None:
                return self._name(path, number, None, 0, 0, length)
            if isinstance(value, Piece) and hasattr(value, "_of"):
                return self._piece((value.part, value._of, value.offset, value.offset + length), path, value)
            if (found := self._found(value)) is not None:
                return self._piece(found, path, value)
            if length >= self._unknown:
                return self._send(value, path)
        self.left_chars += length
        return value

    def _piece(self, span: tuple[Any, StoredText, int, int], path: list[str | int], value: str | None = None) -> Any:
        _, text, start, stop = span
        place = text.place
        named = len(self.handed.texts) < MAX_TEXTS and stop - start >= self._known
        if place is None or not text.in_file or not named or place[0] not in self._contexts:
            value = str.__str__(text.slice(start, stop) if value is None else value)
            if len(value) >= self._unknown:
                return self._send(value, path)
            self.left_chars += len(value)
            return value
        number, part, before = place
        begin, end = text.bytes_of(start, stop)
        return self._name(path, number, part, before + begin, end - begin, stop - start)

    def _whole(self, value: Any) -> int | None:
        for number, context in self._contexts.items():
            if context.holds(value):
                return number if context.chars >= self._known else None
        return None

    def _found(self, value: str) -> tuple[Any, StoredText, int, int] | None:
        """Return where a text lies: as itself, or, if it is long, as a piece, wherever it occurs first."""
        for context in self._contexts.values():
            if (text := context.text_of(value)) is not None:
                return None, text, 0, len(value)
        if len(value) < UNKNOWN_CHARS:
            return None
        for context in self._contexts.values():
            for text in context.texts:
                if text.in_file and len(value) <= text.size <= len(value) * SEARCHED_SHARE:
                    at = text.place_of(value)
                    if at is not None:
                        return None, text, at, at + len(value)
        return None

    def _send(self, value: str, path: list[str | int]) -> None:
        size = len(str.encode(value, "utf-8", "surrogatepass"))
        self.handed.sent.append(str.__str__(value))
        self._name(path, OWN, None, self._sent_bytes, size, len(value))
        self._sent_bytes += size
        if self._sent_bytes > MAX_SENT_BYTES:
            raise ValueError(f"the arguments take more than {MAX_SENT_BYTES:,} bytes beside what is in a context")

    def _name(self, path: list[str | int], context: int, part: int | None, start: int, size: int, chars: int) -> None:
        if len(self.handed.texts) >= MAX_TEXTS:
            raise ValueError(f"the arguments hold more than {MAX_TEXTS:,} long texts; ask in parts")
        self.handed.texts.append(
            {"path": path, "context": context, "part": part, "start": start, "bytes": size, "chars": chars}
        )
