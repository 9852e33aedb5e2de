"""The texts of a context: in UTF-8, as they are stored, until somebody wants one as a `str`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from rlm_graph.executors.sandbox.worker.mapped import SliceT, ascii_text, mapped, slice_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap

    Text = str | list[str] | dict[str, str]
    Part = str | int | None

WHOLE_TEXT_BYTES = 256 << 20
"""The longest text with characters beyond ASCII that is given as one `str`. CPython spends up to four bytes on every
character of a text for its widest one, so longer texts are given as a list of pieces, each as narrow as it can be."""
SHARED_BYTES = 1 << 20
"""Of an ASCII text that is not copied out of its file."""
MAX_SHARED = 8_000
"""Such texts of one context: each takes some of the 65,530 maps that a process may have."""
AT_ONCE_BYTES = 4 << 20
"""Of a context's other texts, which are decoded as soon as it is given. More are decoded when they are asked for."""

_BLOCK = 1 << 14
_HEAD = 1 << 10
"""Of a text that is looked for: the rest is compared where this occurs."""
_TRIES = 16
_CONTINUATION = bytes(range(0x80, 0xC0))


class StoredText:
    """One text, from byte `start` to `stop` of `data`, which is a map or bytes; or a `str` alone."""

    def __init__(self, data: Any, start: int, stop: int, *, ascii: bool, chars: int | None = None) -> None:
        self._data = data
        self._start, self._stop = start, stop
        self._ascii = ascii
        self._chars = stop - start if ascii else chars
        self._marks = [0]
        """How many characters begin before each block, as far as that has been counted."""
        self._value: str | None = None
        self.place: tuple[int, int, int] | None = None
        """The number of its context, which part of that it is in, and at which byte of the part it begins."""

    @classmethod
    def of(cls, value: str) -> StoredText:
        """Make one of a `str`."""
        text = cls(None, 0, len(value), ascii=value.isascii(), chars=len(value))
        text._value = value
        return text

    @property
    def ready(self) -> bool:
        """Whether it is there as a `str`."""
        return self._value is not None

    @property
    def in_file(self) -> bool:
        """Whether its characters can be told by the bytes that they are."""
        return self._data is not None or self._ascii

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._stop - self._start

    def __len__(self) -> int:
        if self._chars is None:
            self._chars = self._char_at(self._stop)
        return self._chars

    def value(self) -> str:
        """Return it as a `str`, the same each time."""
        if self._value is None:
            self._value = self._decoded(self._start, self._stop)
        return self._value

    def hold(self, value: str | None = None, *, alone: bool = False) -> None:
        """Keep it as that `str`, or as its own; `alone` without its bytes."""
        self._value = self.value() if value is None else value
        if alone:
            self._data = None

    def decoded(self) -> str:
        """Return it as a `str` that is not kept, unless it is there already."""
        return self._decoded(self._start, self._stop) if self._value is None else self._value

    @property
    def counted(self) -> bool:
        """Whether it is known how many characters it has, so that `len` reads nothing."""
        return self._chars is not None

    def slice(self, start: int, stop: int) -> str:
        """Return the characters from `start` to `stop`, which are in order and not negative."""
        if self._value is not None:
            return self._value[start:stop]
        return self._decoded(self._byte_at(start), self._byte_at(stop))

    def shared(self, start: int, stop: int, kind: type[SliceT]) -> SliceT | None:
        """Return long slices without a copy, where that can be; see `slice_of`."""
        return None if self._value is None else slice_of(self._value, start, stop, kind)

    def bytes_of(self, start: int, stop: int) -> tuple[int, int]:
        """Return where characters begin and end in its bytes, counted from its own first."""
        if self._ascii:
            return start, stop
        return self._byte_at(start) - self._start, self._byte_at(stop) - self._start

    def find(self, pattern: re.Pattern[str], literal: str | None) -> Iterator[tuple[int, int, str]]:
        """Yield where matches begin and end, and what each is. `literal` is what the pattern means, if just that."""
        if literal is None or self._value is not None:
            text = self.decoded()
            for match in pattern.finditer(text):
                yield match.start(), match.end(), match.group()
            return
        wanted, place = literal.encode("utf-8", "surrogatepass"), self._start
        while (place := self._data.find(wanted, place, self._stop)) >= 0:
            at = self._char_at(place)
            yield at, at + len(literal), literal
            place += len(wanted)

    def lines(self) -> Iterator[int]:
        """Yield where lines begin, in characters; every text has a first one."""
        yield 0
        if self._value is not None:
            end = 0
            while end := self._value.find("\n", end) + 1:
                if end < len(self._value):
                    yield end
            return
        place = self._start
        while (place := self._data.find(b"\n", place, self._stop) + 1) and place < self._stop:
            yield self._char_at(place)

    def place_of(self, piece: str) -> int | None:
        """Return where, in characters, a text occurs first. None if it does not, or its beginning does often before."""
        if self._value is not None:
            head, at = piece[:_HEAD], -1
            for _ in range(_TRIES):
                at = self._value.find(head, at + 1)
                if at < 0 or self._value.startswith(piece, at):
                    return None if at < 0 else at
            return None
        wanted = str.encode(piece, "utf-8", "surrogatepass")
        start, at = wanted[:_HEAD], self._start - 1
        view = memoryview(self._data)
        for _ in range(_TRIES):
            at = self._data.find(start, at + 1, self._stop)
            if at < 0 or (at + len(wanted) <= self._stop and view[at : at + len(wanted)] == wanted):
                return None if at < 0 else self._char_at(at)
        return None

    def _decoded(self, start: int, stop: int) -> str:
        return str(memoryview(self._data)[start:stop], "utf-8", "surrogatepass")

    def _byte_at(self, char: int) -> int:
        """Return the byte of the data at which a character begins; the end for those behind it."""
        if self._ascii:
            return min(self._start + char, self._stop)
        while self._marks[-1] <= char and (len(self._marks) - 1) * _BLOCK < self._stop - self._start:
            self._count_block()
        number = bisect_right(self._marks, char) - 1
        begin, end = self._lead(number), self._lead(number + 1)
        text = self._decoded(begin, end)[: char - self._marks[number]]
        return begin + len(text.encode("utf-8", "surrogatepass"))

    def _char_at(self, byte: int) -> int:
        """Return how many characters begin before a byte of the data."""
        if self._ascii:
            return byte - self._start
        number = (byte - self._start) // _BLOCK
        while len(self._marks) <= number:
            self._count_block()
        begin = self._start + number * _BLOCK
        return self._marks[number] + _characters(self._data[begin:byte])

    def _count_block(self) -> None:
        number = len(self._marks)
        begin = self._start + (number - 1) * _BLOCK
        count = self._marks[number - 1] + _characters(self._data[begin : min(begin + _BLOCK, self._stop)])
        self._marks[number : number + 1] = [count]  # not appended: a thread may have counted it meanwhile

    def _lead(self, number: int) -> int:
        """Return where the first character begins that begins in a block or behind it."""
        place = min(self._start + number * _BLOCK, self._stop)
        while place < self._stop and self._data[place] & 0xC0 == 0x80:
            place += 1
        return place


class StoredContext:
    """A context: its texts, and what they are together. `value()` is what code calls `context`."""

    def __init__(self, kind: str, names: Sequence[Any], texts: Sequence[StoredText], *, pieces_of: int = 0) -> None:
        """If it is one text in pieces, `pieces_of` is how many characters that has."""
        self.kind = kind
        self.whole = not pieces_of
        self.chars = pieces_of or sum(map(len, texts))
        self.names = list(names)
        self.texts = list(texts)
        self._value: Text | None = None
        self._by_value: dict[int, StoredText] | None = None

    @classmethod
    def of(cls, value: Text | None) -> StoredContext:
        """Make one of what code is given, or of nothing."""
        if value is None:
            return cls("nothing", [], [])
        if isinstance(value, str):
            stored = cls("str", [None], [StoredText.of(value)])
        elif isinstance(value, dict):
            stored = cls("dict", list(value), [StoredText.of(text) for text in value.values()])
        else:
            stored = cls("list", range(len(value)), [StoredText.of(text) for text in value])
        stored._value = value
        return stored

    @property
    def ready(self) -> bool:
        """Whether all of it is there as `str`s."""
        return all(text.ready for text in self.texts)

    def holds(self, value: Any) -> bool:
        """Whether that is what code was given, and as it was."""
        if value is not self._value or value is None:
            return False
        if isinstance(value, str):
            return True
        now = list(value.values()) if isinstance(value, dict) else list(value)
        named = list(value) == self.names if isinstance(value, dict) else True
        return named and len(now) == len(self.texts) and all(
            held is text.value() for held, text in zip(now, self.texts)  # noqa: B905  # of one length
        )  # fmt: skip

    def text_of(self, value: str) -> StoredText | None:
        """Return which of its texts that is, the very object that code was given."""
        if self._value is None or self.kind == "str":
            return None
        if self._by_value is None:
            self._by_value = {id(text.value()): text for text in self.texts}
        text = self._by_value.get(id(value))
        return text if text is not None and text.value() is value else None

    def number(self, number: int) -> None:
        """Have its texts know which context of the run they belong to."""
        begin = self.texts[0] if self.texts and not self.whole else None
        for index, text in enumerate(self.texts):
            text.place = (number, index, 0) if begin is None else (number, 0, text._start - begin._start)

    def value(self) -> Text:
        """Return what code is given, the same each time."""
        if self._value is None:
            texts = [text.value() for text in self.texts]
            if self.kind == "str":
                self._value = texts[0]
            else:
                # `strict` needs Python 3.10.
                self._value = texts if self.kind == "list" else dict(zip(self.names, texts))  # noqa: B905
        return self._value


def read(
    kind: str, parts: Sequence[dict[str, Any]], data: Any, *, whole_text_bytes: int = WHOLE_TEXT_BYTES
) -> StoredContext:
    """Make a context of its parts, as in its index, and a map or bytes of all texts.

    A single text of more than `whole_text_bytes` with characters beyond ASCII comes as a list of its pieces.
    """
    if kind == "str" and not parts[0]["ascii"] and parts[0]["bytes"] > whole_text_bytes:
        start, size = parts[0]["start"], parts[0]["bytes"]
        pieces = list(_pieces(data, start, start + size, whole_text_bytes // 4))
        texts = [StoredText(data, begin, end, ascii=False) for begin, end in pieces]
        return StoredContext("list", range(len(texts)), texts, pieces_of=parts[0]["chars"])
    texts = [
        StoredText(
            data, part["start"], part["start"] + part["bytes"], ascii=part["ascii"], chars=part["chars"]
        )
        for part in parts
    ]  # fmt: skip
    names: Sequence[Any] = [part["name"] for part in parts] if kind == "dict" else range(len(parts))
    return StoredContext(kind, [None] if kind == "str" else names, texts)


def open_file(kind: str, parts: Sequence[dict[str, Any]], file: int, start: int, size: int) -> StoredContext:
    """Make a context of its parts, which lie in `size` bytes of a file from `start` on, and are counted from there.

    Nothing is read of large ASCII texts; others are decoded when they are asked for, if they are many bytes together.
    Raises `OSError`.
    """
    data: mmap.mmap | bytes = mapped(file, start, size) if size else b""
    before = len(data) - size
    stored = read(kind, [{**part, "start": part["start"] + before} for part in parts], data)
    if stored.whole:
        large = [
            (text, part) for text, part in zip(stored.texts, parts)  # noqa: B905  # `strict` needs Python 3.10
            if part["ascii"] and part["bytes"] >= SHARED_BYTES
        ]  # fmt: skip
        for text, part in large[:MAX_SHARED]:
            if (value := ascii_text(file, start + part["start"], part["bytes"])) is not None:
                text.hold(value)
    left = sum(part["bytes"] for part, text in zip(parts, stored.texts) if not text.ready)  # noqa: B905  # as above
    if stored.whole and left <= AT_ONCE_BYTES:
        stored.value()
    return stored


def _characters(data: bytes) -> int:
    return len(data.translate(None, _CONTINUATION))


def _pieces(data: Any, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = min(start + size, end)
        while stop < end and data[stop] & 0xC0 == 0x80:  # inside a character
            stop -= 1
        yield start, stop
        start = stop
