"""Frames: one JSON object to a line, in ASCII, between an owner, a supervisor and a worker.

ASCII keeps what JSON can hold and UTF-8 cannot, such as lone surrogates, and no text of a frame can end its line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

MAX_FRAME = 160 << 20
"""Bytes of the longest frame. 50 MB of UTF-8 text in any script fits, at three bytes of JSON for one."""
MAX_VALUE = MAX_FRAME - (8 << 20)
"""Bytes that one value in a frame may take as JSON; the rest is for what goes with it."""
MAX_SENT_BYTES = 4 << 30
"""Of the texts that a cell's unanswered calls send in pieces, each of them too long for the frame of its call."""
MAX_BITS = 64
"""Of an integer: what a checkpoint can store, from -2**63 to 2**64 - 1."""

MAX_VALUE_ITEMS = 500_000
"""Values in one value of a frame. Each takes up to 170 bytes as an object of Python, and as little as 3 as JSON."""
MAX_ITEMS = 2 * MAX_VALUE_ITEMS + 10_000
"""Of a frame that comes from a sandbox, as `count_items` counts them: it counts a container twice."""

MAX_DEPTH = 100
"""Of lists and objects in each other, in a value: what a checkpoint can store."""

MAX_REASON = 1000
"""Characters of the words that say why something cannot be done."""

_MARKS = (b",", b"[", b"{")
_COUNTED_BYTES = 1 << 20
_CONTAINERS = (list, tuple, dict)

# Code that replaces those of the module shall not cost its REPL.
_dumps, _loads = json.dumps, json.loads

Frame = dict[str, Any]


class FrameError(ValueError):
    """The other side sent what is no frame, or one that is too long."""


def encode(frame: Frame) -> bytes:
    """Return the line for `frame`. Raises `FrameError` if it is too long, or JSON has no form for it."""
    try:
        line = _dumps(frame, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"no frame can say it: {error}") from None
    if len(line) > MAX_FRAME:
        raise FrameError(f"a frame of {len(line):,} bytes is longer than {MAX_FRAME:,}")
    return line


def decode(line: bytes, *, max_items: int | None = None) -> Frame:
    """Read one line, strictly: an object in ASCII whose numbers are finite, and its integers of at most 64 bits.

    Raises `FrameError`. One that holds more than `max_items` values is refused before any of them is made.
    """
    if max_items is not None and (items := count_items(line, max_items)) > max_items:
        raise FrameError(f"a frame of over {items - 1:,} values")
    try:
        text = line.decode("ascii")
        frame = _loads(text, parse_constant=_refuse, parse_int=_integer, parse_float=_float)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not a frame: {str(error)[:200]}") from None
    if not isinstance(frame, dict):
        raise FrameError(f"not a frame: a JSON {type(frame).__name__}")
    return frame


def count_items(line: bytes, enough: int) -> int:
    """Return about how many values a JSON text holds, without reading it; any number above `enough` if it is more.

    Commas and opening brackets are what it counts.

    Of what is no JSON, only that counts on which a reader of JSON would come before it gives up.
    """
    rough = sum(map(line.count, _MARKS))
    if rough <= enough:  # what stands in texts counted too
        return rough
    plain = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    count, outside = 0, True
    for start in range(0, len(plain), _COUNTED_BYTES):
        parts = plain[start : start + _COUNTED_BYTES].split(b'"')
        count += sum(part.count(mark) for part in parts[0 if outside else 1 :: 2] for mark in _MARKS)
        outside = outside == (len(parts) % 2 == 1)
        if count > enough:
            break
    return count


def fits_checkpoint(value: int) -> bool:
    """Whether a checkpoint can store the integer."""
    return -1 << (MAX_BITS - 1) <= value < 1 << MAX_BITS


def is_deep(value: Any, limit: int = MAX_DEPTH) -> bool:
    """Whether lists and objects lie in each other more than `limit` deep."""
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(limit):
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, _CONTAINERS)
        ]
        if not level:
            return False
    return bool(level)


class Splitter:
    """Cuts a stream of bytes into frames, which hold at most `max_items` values each."""

    def __init__(self, *, max_items: int | None = None) -> None:
        self._max_items = max_items
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add what was received and yield the frames that it completes. Raises `FrameError` after the good ones."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end < 0:
                break
            with memoryview(self._buffer) as view:
                line = bytes(view[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            yield decode(line, max_items=self._max_items)
        self._searched = len(self._buffer)
        if self._searched > MAX_FRAME:
            raise FrameError(f"a frame is longer than {MAX_FRAME:,} bytes")


def _refuse(constant: str) -> None:
    raise FrameError(f"{constant} has no form in JSON")


def _integer(digits: str) -> int:
    # Checked before it is converted: the time for that grows with the square of the digits.
    if len(digits) > 20 or not fits_checkpoint(value := int(digits)):
        raise FrameError(f"an integer of more than {MAX_BITS} bits")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):  # such as 1e999
        raise FrameError("a number that is not finite")
    return value
