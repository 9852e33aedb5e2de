"""The long input as code sees it: `context`, and `ctx` for looking into it without copying it."""

from __future__ import annotations

import functools
import itertools
import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex, overload

from rlm_graph.executors.sandbox.worker.mapped import give_back
from rlm_graph.executors.sandbox.worker.texts import WHOLE_TEXT_BYTES, StoredContext, StoredText, read

if TYPE_CHECKING:
    from rlm_graph.executors.sandbox.worker.texts import Part, Text

    Span = tuple[Part, StoredText, int, int]

AROUND = 80
KNOWN_CHARS = 1 << 16
"""Of a slice that knows where it lies, so that a call can say that instead of what it is."""


def load(kind: str, parts: Sequence[dict[str, Any]], data: Any, *, whole_text_bytes: int = WHOLE_TEXT_BYTES) -> Text:
    """Decode a stored context: `parts` as in its index, `data` a buffer of all texts in UTF-8, one after another.

    A single text of more than `whole_text_bytes` with characters beyond ASCII comes as a list of its pieces.
    """
    return read(kind, parts, data, whole_text_bytes=whole_text_bytes).value()


def memory_needed(parts: Sequence[dict[str, Any]]) -> int:
    """Return the bytes of address space that loading takes at most, the mapped file included."""
    return sum(part["bytes"] + (part["chars"] if part["ascii"] else 4 * part["chars"]) for part in parts)


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
    _of: StoredText


class SharedPiece(Piece):
    """A long piece, whose characters are the context's own."""

    def __del__(self) -> None:
        give_back(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[type[str], tuple[str]]:
        return str, (str.__str__(self),)


class Context:
    """The context, to be looked into: `ctx.slice`, `ctx.find`, `ctx.chunk`, `len(ctx)`.

    A list or dict of texts counts as one long text for `slice`; `find` and `chunk` keep its texts apart. Of texts that
    lie in a file only what is looked at is read, but for patterns other than plain words.
    """

    def __init__(self, value: Text | StoredContext | None) -> None:
        stored = value if isinstance(value, StoredContext) else StoredContext.of(value)
        self._kind = stored.kind
        self._names: list[Part] = stored.names
        self._texts = stored.texts
        self._chars = stored.chars
        self._starts = [0] * len(self._texts) + [self._chars]
        """Where the texts begin in the whole, as far as that has been counted: from both ends, up to these."""
        self._front, self._back = 0, len(self._texts)

    def __len__(self) -> int:
        return self._chars

    def __repr__(self) -> str:
        texts = "" if self._kind in ("str", "nothing") else f" of {len(self._texts):,} texts"
        return f"<ctx: {self._kind}{texts}, {len(self):,} characters>"

    @property
    def texts(self) -> Sequence[StoredText]:
        """The texts, as they are stored."""
        return self._texts

    @property
    def names(self) -> list[Part]:
        """The names of the texts, or their indexes."""
        return list(self._names) if self._texts else []

    def slice(self, start: int = 0, stop: int | None = None, *, part: Part = None) -> str:
        """Return characters `start` to `stop` of the whole, or of one text. Negative offsets count from the end."""
        if part is not None:
            text = self._text(part)
            start, stop, _ = slice(start, stop).indices(len(text))
            return _piece(part, text, start, stop)
        start, stop, _ = slice(start, stop).indices(len(self))
        if start >= stop:
            return ""
        pieces = []
        number = self._number_at(start)
        begin = self._starts[number]
        while begin < stop:
            text = self._texts[number]
            pieces.append(_piece(self._names[number], text, max(start - begin, 0), min(stop - begin, len(text))))
            number, begin = number + 1, begin + len(text)
        return pieces[0] if len(pieces) == 1 else "".join(pieces)

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
        literal = None
        if isinstance(pattern, str):
            if not pattern:
                raise ValueError("ctx.find: the pattern is empty")
            literal = None if regex or ignore_case else str.__str__(pattern)
            pattern = re.compile(pattern if regex else re.escape(pattern), re.IGNORECASE if ignore_case else 0)
        found = (
            Match(name, start, match, _around(text, start - around, stop + around))
            for name, text in self._chosen(part)
            for start, stop, match in text.find(pattern, literal)
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
        cut = _by_chars if by == "chars" else _by_lines

        def spans(chosen: Sequence[tuple[Part, StoredText]]) -> list[Span]:
            return [(name, text, *span) for name, text in chosen for span in cut(text, size, overlap)]

        chosen = self._chosen(part)
        if all(text.counted for _, text in chosen):
            return Pieces(spans(chosen))
        return Pieces((), [functools.partial(spans, [each]) for each in chosen])

    def _number_at(self, place: int) -> int:
        """Return the number of the text that a character of the whole is in."""
        starts = self._starts
        while self._front < self._back and starts[self._front] <= place < starts[self._back]:
            if 2 * place < self._chars:
                self._front += 1
                starts[self._front] = starts[self._front - 1] + len(self._texts[self._front - 1])
            else:
                self._back -= 1
                starts[self._back] = starts[self._back + 1] - len(self._texts[self._back])
        known = (0, self._front + 1) if place < starts[self._front] else (self._back, len(starts))
        return bisect_right(starts, place, *known) - 1

    def _chosen(self, part: Part) -> list[tuple[Part, StoredText]]:
        if part is not None:
            return [(part, self._text(part))]
        return list(zip(self._names, self._texts))  # noqa: B905  # of one length, or no texts at all

    def _text(self, part: Part) -> StoredText:
        if part not in self._names:
            raise KeyError(f"the context has no text {part!r}; ctx.names lists them")
        return self._texts[self._names.index(part)]


class Pieces(Sequence[Piece]):
    """The pieces of a context, made when they are looked at."""

    def __init__(self, spans: Sequence[Span], more: Sequence[Callable[[], list[Span]]] = ()) -> None:
        """`more` finds those behind `spans`, as far as one comes to them: to cut a text, its characters are counted."""
        self._known: tuple[Sequence[Span], Sequence[Callable[[], list[Span]]]] = spans, more

    @property
    def spans(self) -> Sequence[Span]:
        """Where they lie: the text's name, the text, the first character and the one behind the last."""
        return self._first(None)

    def _first(self, count: int | None) -> Sequence[Span]:
        """Return at least so many spans, or all that there are."""
        spans, more = self._known  # together, and put back together: threads may look at once
        while more and (count is None or len(spans) < count):
            spans, more = [*spans, *more[0]()], more[1:]
            self._known = spans, more
        return spans

    def __getstate__(self) -> dict[str, Any]:
        return {"_spans": self.spans}  # as snapshots have always held them

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._known = state["_spans"], ()

    def __len__(self) -> int:
        return len(self.spans)

    def __repr__(self) -> str:
        return f"<{len(self)} pieces of the context>"

    @overload
    def __getitem__(self, index: int) -> Piece: ...
    @overload
    def __getitem__(self, index: slice) -> Pieces: ...
    def __getitem__(self, index: int | slice) -> Piece | Pieces:
        if isinstance(index, slice):
            return Pieces(self._first(_end_of(index))[index])
        place = operator.index(index)
        return _known(*self._first(place + 1 if place >= 0 else None)[place])


def _end_of(wanted: slice) -> int | None:
    """Return how many items a slice needs at most; None if that depends on how many there are."""
    ends: tuple[Any, Any, Any] = wanted.start, wanted.stop, wanted.step
    start, stop, step = (None if each is None else operator.index(each) for each in ends)
    known = stop is not None and stop >= 0 and (start is None or start >= 0) and (step is None or step > 0)
    return stop if known else None


def _piece(part: Part, text: StoredText, start: int, stop: int) -> str:
    return _known(part, text, start, stop) if stop - start >= KNOWN_CHARS else text.slice(start, max(start, stop))


def _known(part: Part, text: StoredText, start: int, stop: int) -> Piece:
    piece = text.shared(start, stop, SharedPiece) or Piece(text.slice(start, stop))
    piece.part, piece.offset, piece._of = part, start, text
    return piece


def _around(text: StoredText, start: int, stop: int) -> str:
    # As a slice of a `str` has it, whatever `around` was given.
    start, stop, _ = slice(max(start, 0), stop).indices(len(text))
    return text.slice(start, max(start, stop))


def _by_chars(text: StoredText, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    return _spans(len(text), size, overlap)


def _by_lines(text: StoredText, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    starts = [*text.lines(), len(text)]
    for first, last in _spans(len(starts) - 1 if starts[-1] else 0, size, overlap):
        yield starts[first], starts[last]


def _spans(length: int, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    # The last piece is the first that reaches the end: after it there would be only overlap.
    last = max(length - overlap, min(length, 1))
    for start in range(0, last, size - overlap):
        yield start, min(start + size, length)
