"""Large frames, read and written piece by piece: a text of 150 MB in one call of C's holds up every other thread.

What is read in a thread still holds Python's lock for as long as one such call takes, and with it the event loop.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from rlm_graph.bridge import in_thread
from rlm_graph.executors.sandbox.frames import MAX_FRAME, Frame, FrameError, decode, encode
from rlm_graph.json_pieces import json_pieces, weight

LARGE_BYTES = 1 << 20
"""Of a frame from which on it is read so."""
TEXT_BYTES = 1 << 16
"""Of a text in it that is read by itself."""

_HEX = rb"[0-9a-fA-F]"
_HIGH = rb"\\u[dD][89abAB]" + _HEX + rb"{2}"
_LOW = rb"\\u[dD][c-fC-F]" + _HEX + rb"{2}"
_ALONE = rb"(?=[^\\]|\\[^u]|\\u(?![dD][c-fC-F])" + _HEX + rb"{4})"
_BODY = re.compile(
    b"".join(
        [
            rb"(?:[^\"\\]++|\\[^u]|\\u(?![dD][89abAB])",
            _HEX,
            rb"{4}|",
            _HIGH,
            rb"(?:",
            _LOW,
            rb"|",
            _ALONE,
            rb"))*+",
        ]
    ),
    re.DOTALL,
)
"""The inside of a text of JSON, as far as it is there, without an escape or a pair of them that is not whole."""
_ESCAPE_BYTES = 12
"""Of the longest thing that stays together: two escapes that are one character."""


async def encoded(frame: Frame) -> list[bytes]:
    """Return the line for a frame, in pieces of at most some megabytes. Raises `FrameError` as `encode` does."""
    if weight(frame) < LARGE_BYTES:
        return [encode(frame)]
    return await in_thread(_encoded, frame)


def _encoded(frame: Frame) -> list[bytes]:
    pieces: list[bytes] = []
    held, size = [], 0
    try:
        for text in json_pieces(frame, allow_nan=False):
            held.append(text)
            size += len(text)
            if size >= LARGE_BYTES:
                pieces.append("".join(held).encode("ascii"))
                held, size = [], 0
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"no frame can say it: {error}") from None
    pieces.append("".join([*held, "\n"]).encode("ascii"))
    length = sum(map(len, pieces))
    if length > MAX_FRAME:
        raise FrameError(f"a frame of {length:,} bytes is longer than {MAX_FRAME:,}")
    return pieces


class FrameReader:
    """Makes frames of what is received. Large ones are read in a thread."""

    def __init__(self, read: Callable[[bytes], Frame] = decode) -> None:
        self._read = read
        self._pieces: list[bytes] = []
        self._last = bytearray()
        self._size = 0

    async def feed(self, data: bytes) -> AsyncIterator[Frame]:
        """Add what was received and yield the frames that it completes. Raises `FrameError` after the good ones."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            pieces, size = [*self._pieces, bytes(self._last)], self._size
            self._pieces, self._last, self._size = [], bytearray(), 0
            if size < LARGE_BYTES:
                yield self._read(b"".join(pieces))
            else:
                yield await in_thread(decode_large, pieces, self._read)
        self._add(rest)
        if self._size > MAX_FRAME:
            raise FrameError(f"a frame is longer than {MAX_FRAME:,} bytes")

    def _add(self, data: bytes) -> None:
        self._last += data  # however small what comes is, what is kept is of one size
        self._size += len(data)
        if len(self._last) >= LARGE_BYTES:
            self._pieces.append(bytes(self._last))
            self._last.clear()


def decode_large(pieces: Sequence[bytes], read: Callable[[bytes], Frame] = decode) -> Frame:
    """Read the line that the pieces make together, as `read` reads it in one. Raises `FrameError`."""
    mark = secrets.token_hex(16)  # which no code in a sandbox can know
    texts: list[list[bytes]] = []
    frame = read(b"".join(_skeleton(pieces, mark, texts)))
    return _filled(frame, mark, texts) if texts else frame


def _skeleton(pieces: Sequence[bytes], mark: str, texts: list[list[bytes]]) -> list[bytes]:
    """Return the line with a mark in the place of each long text, whose parts are put into `texts`."""
    found: list[bytes] = []
    text: list[bytes] | None = None
    rest = b""
    for piece in pieces:
        data, place, rest = rest + piece, 0, b""
        while place < len(data):
            if text is None:
                start = data.find(b'"', place)
                found.append(data[place:] if start < 0 else data[place:start])
                place = len(data) if start < 0 else start + 1
                text = None if start < 0 else []
                continue
            match = _BODY.match(data, place)
            assert match is not None  # it matches nothing, too
            text.append(match[0])
            place = match.end()
            if data[place : place + 1] == b'"':
                found.append(_string(text, mark, texts))
                text, place = None, place + 1
            elif place < len(data):
                if len(data) - place >= _ESCAPE_BYTES:
                    raise FrameError("not a frame: an escape that JSON does not have")
                rest = data[place:]
                break
    if text is not None or rest:
        raise FrameError("not a frame: a text without an end")
    return found


def _string(text: list[bytes], mark: str, texts: list[list[bytes]]) -> bytes:
    if sum(map(len, text)) < TEXT_BYTES:
        return b'"%b"' % b"".join(text)
    texts.append(text)
    return f'"{mark}{len(texts) - 1}"'.encode()


def _filled(value: Any, mark: str, texts: list[list[bytes]]) -> Any:
    if isinstance(value, str):
        return _joined(texts[int(value.removeprefix(mark))]) if value.startswith(mark) else value
    if isinstance(value, list):
        return [_filled(item, mark, texts) for item in value]
    if isinstance(value, dict):
        return {_filled(key, mark, texts): _filled(item, mark, texts) for key, item in value.items()}
    return value


def _joined(text: list[bytes]) -> str:
    try:
        return "".join([json.loads(b'"%b"' % part) for part in text])
    except ValueError as error:
        raise FrameError(f"not a frame: {str(error)[:200]}") from None
