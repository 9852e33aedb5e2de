"""Frames: one JSON object to a line, in ASCII, between an owner, a supervisor and a worker.

ASCII keeps what JSON can hold and UTF-8 cannot, such as lone surrogates, and no text of a frame can end its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MAX_FRAME = 160 << 20
"""Bytes of the longest frame. 50 MB of UTF-8 text in any script fits, at three bytes of JSON for one."""
MAX_VALUE = MAX_FRAME - (8 << 20)
"""Bytes that one value in a frame may take as JSON; the rest is for what goes with it."""
MAX_BITS = 64
"""Of an integer: what a checkpoint can store."""

MAX_DEPTH = 100
"""Of lists and objects in each other, in a value: what a checkpoint can store."""

MAX_REASON = 1000
"""Characters of the words that say why something cannot be done."""

Frame = dict[str, Any]


class FrameError(ValueError):
    """The other side sent what is no frame, or one that is too long."""


def encode(frame: Frame) -> bytes:
    """Return the line for `frame`. Raises `FrameError` if it is too long."""
    line = json.dumps(frame, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > MAX_FRAME:
        raise FrameError(f"a frame of {len(line):,} bytes is longer than {MAX_FRAME:,}")
    return line


def decode(line: bytes) -> Frame:
    """Read one line, strictly: an object whose numbers are finite and of at most 64 bits. Raises `FrameError`."""
    try:
        frame = json.loads(line, parse_constant=_refuse, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not a frame: {error}") from None
    if not isinstance(frame, dict):
        raise FrameError(f"not a frame: a JSON {type(frame).__name__}")
    return frame


def is_deep(value: Any, limit: int = MAX_DEPTH) -> bool:
    """Whether lists and objects lie in each other more than `limit` deep."""
    if not isinstance(value, (list, tuple, dict)):
        return False
    items = value.values() if isinstance(value, dict) else value
    return limit <= 0 or any(is_deep(item, limit - 1) for item in items)


class Splitter:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add what was received and yield the frames that it completes. Raises `FrameError` after the good ones."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end < 0:
                break
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            yield decode(line)
        self._searched = len(self._buffer)
        if self._searched > MAX_FRAME:
            raise FrameError(f"a frame is longer than {MAX_FRAME:,} bytes")


def _refuse(constant: str) -> None:
    raise FrameError(f"{constant} has no form in JSON")


def _integer(digits: str) -> int:
    # Checked before it is converted: the time for that grows with the square of the digits.
    if len(digits) > 20 or (value := int(digits)).bit_length() > MAX_BITS:
        raise FrameError(f"an integer of more than {MAX_BITS} bits")
    return value
