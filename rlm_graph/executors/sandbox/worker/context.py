"""The long input as code sees it: `context`, and `ctx` for looking into it without copying it."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    Text = str | list[str] | dict[str, str]
    Part = str | int | None

WHOLE_TEXT_BYTES = 256 << 20
"""The longest text with characters beyond ASCII that is given as one `str`. CPython spends up to four bytes on every
character of a text for its widest one, so longer texts are given as a list of pieces, each as narrow as it can be."""
AROUND = 80


def load(kind: str, parts: Sequence[dict[str, Any]], data: Any, *, whole_text_bytes: int = WHOLE_TEXT_BYTES) -> Text:
    """Decode a stored context: `parts` as in its index, `data` a buffer of all texts in UTF-8, one after another.

    A single text of more than `whole_text_bytes` with characters beyond ASCII comes as a list of its pieces.
    """
    view = memoryview(data)
    if kind == "str" and not parts[0]["ascii"] and parts[0]["bytes"] > whole_text_bytes:
        return [_decode(view[start:stop]) for start, stop in _pieces(view, whole_text_bytes // 4)]
    texts = (_decode(view[part["start"] : part["start"] + part["bytes"]]) for part in parts)
    if kind == "str":
        return next(texts)
    if kind == "list":
        return list(texts)
    return {part["name"]: text for part, text in zip(parts, texts)}  # noqa: B905  # `strict` needs Python 3.10


def memory_needed(parts: Sequence[dict[str, Any]]) -> int:
    """Return the bytes of address space that loading takes at most, the mapped file included."""
    return sum(part["bytes"] + (part["chars"] if part["ascii"] else 4 * part["chars"]) for part in parts)


def _decode(view: memoryview) -> str:
    return str(view, "utf-8", "surrogatepass")


def _pieces(view: memoryview, size: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(view):
        stop = min(start + size, len(view))
        while stop < len(view) and view[stop] & 0xC0 == 0x80:  # inside a character
            stop -= 1
        yield start, stop
        start = stop


class Match(NamedTuple):
    """A place where `ctx.find` found the pattern."""

    part: Part
    """The text's name or index; None if the context is one text."""
    offset: int
    """Where the match begins, in characters of that text."""
    match: str
    text: str
    """The match and what is around it."""


class Piece(str):
    """A piece of the context: a `str` that knows where it lies."""

    part: Part
    offset: int
    """Where it begins, in characters of its text."""


class Context:
    """The context, to be looked into: `ctx.slice`, `ctx.find`, `ctx.chunk`, `len(ctx)`.

    A list or dict of texts counts as one long text for `slice`; `find` and `chunk` keep its texts apart.
    """

    def __init__(self, value: Text | None) -> None:
        self._kind = "nothing" if value is None else type(value).__name__
        self._names: list[Part] = [None]
        self._texts: list[str] = []
        if isinstance(value, str):
            self._texts = [value]
        elif isinstance(value, list):
            self._texts, self._names = list(value), list(range(len(value)))
        elif isinstance(value, dict):
            self._texts, self._names = list(value.values()), list(value)
        self._starts = [0, *itertools.accumulate(map(len, self._texts))]

    def __len__(self) -> int:
        return self._starts[-1]

    def __repr__(self) -> str:
        texts = "" if self._kind in ("str", "nothing") else f" of {len(self._texts):,} texts"
        return f"<ctx: {self._kind}{texts}, {len(self):,} characters>"

    @property
    def names(self) -> list[Part]:
        """The names of the texts, or their indexes."""
        return list(self._names) if self._texts else []

    def slice(self, start: int = 0, stop: int | None = None, *, part: Part = None) -> str:
        """Return characters `start` to `stop` of the whole, or of one text. Negative offsets count from the end."""
        if part is not None:
            return self._text(part)[start:stop]
        start, stop, _ = slice(start, stop).indices(len(self))
        if start >= stop:
            return ""
        first = bisect_right(self._starts, start) - 1
        pieces = []
        for text, begin in itertools.islice(zip(self._texts, self._starts), first, None):  # noqa: B905  # one start more
            if begin >= stop:
                break
            pieces.append(text[max(start - begin, 0) : stop - begin])
        return "".join(pieces)

    def find(
        self,
        pattern: str | re.Pattern[str],
        *,
        limit: int | None = 20,
        regex: bool = False,
        ignore_case: bool = False,
        around: int = AROUND,
        part: Part = None,
    ) -> list[Match]:
        """Return the first `limit` places (None: all) where `pattern` occurs, with `around` characters on each side."""
        if isinstance(pattern, str):
            if not pattern:
                raise ValueError("ctx.find: the pattern is empty")
            pattern = re.compile(pattern if regex else re.escape(pattern), re.IGNORECASE if ignore_case else 0)
        found = (
            Match(name, hit.start(), hit.group(), text[max(hit.start() - around, 0) : hit.end() + around])
            for name, text in self._chosen(part)
            for hit in pattern.finditer(text)
        )
        return list(itertools.islice(found, limit))

    def chunk(self, size: int, overlap: int = 0, *, by: str = "chars", part: Part = None) -> Pieces:
        """Cut the context into pieces of `size` characters, or lines (`by="lines"`).

        Each shares `overlap` with the next, and none spans two texts. They are made when they are looked at.
        """
        if by not in ("chars", "lines"):
            raise ValueError(f"ctx.chunk: by is 'chars' or 'lines', not {by!r}")
        if size < 1 or not 0 <= overlap < size:
            raise ValueError("ctx.chunk: size must be at least 1, and overlap from 0 to less than size")
        spans = [
            (name, text, start, stop)
            for name, text in self._chosen(part)
            for start, stop in (_by_chars if by == "chars" else _by_lines)(text, size, overlap)
        ]
        return Pieces(spans)

    def _chosen(self, part: Part) -> list[tuple[Part, str]]:
        if part is not None:
            return [(part, self._text(part))]
        return list(zip(self._names, self._texts))  # noqa: B905  # of one length, or no texts at all

    def _text(self, part: Part) -> str:
        if part not in self._names:
            raise KeyError(f"the context has no text {part!r}; ctx.names lists them")
        return self._texts[self._names.index(part)]


class Pieces(Sequence[Piece]):
    """The pieces of a context, made when they are looked at."""

    def __init__(self, spans: Sequence[tuple[Part, str, int, int]]) -> None:
        self._spans = spans

    def __len__(self) -> int:
        return len(self._spans)

    def __repr__(self) -> str:
        return f"<{len(self)} pieces of the context>"

    @overload
    def __getitem__(self, index: int) -> Piece: ...
    @overload
    def __getitem__(self, index: slice) -> Pieces: ...
    def __getitem__(self, index: int | slice) -> Piece | Pieces:
        if isinstance(index, slice):
            return Pieces(self._spans[index])
        part, text, start, stop = self._spans[index]
        piece = Piece(text[start:stop])
        piece.part, piece.offset = part, start
        return piece


def _by_chars(text: str, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    return _spans(len(text), size, overlap)


def _by_lines(text: str, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    starts = [0]
    while (end := text.find("\n", starts[-1]) + 1) and end < len(text):
        starts.append(end)
    starts.append(len(text))
    for first, last in _spans(len(starts) - 1 if text else 0, size, overlap):
        yield starts[first], starts[last]


def _spans(length: int, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    # The last piece is the first that reaches the end: after it there would be only overlap.
    last = max(length - overlap, min(length, 1))
    for start in range(0, last, size - overlap):
        yield start, min(start + size, length)
