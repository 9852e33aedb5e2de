"""What a cell printed: its head and its tail, within a limit, and how much there was."""

from __future__ import annotations

import codecs

_CONTINUATION = bytes(range(0x80, 0xC0))
_ERRORS = "rlm_graph.as_printed"


class BoundedOutput:
    """One stream of one cell. Keeps `limit` bytes, half from the head and half from the tail."""

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self._bytes = 0
        self._chars = 0

    def write(self, data: bytes) -> None:
        """Add what was printed."""
        self._bytes += len(data)
        self._chars += len(data.translate(None, _CONTINUATION))
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 4 * self._half:  # seldom: each cut moves what is kept
            del self._tail[: -self._half]

    def take(self) -> tuple[str, int]:
        """Return the text, with a line that tells of a cut, and the characters printed; start anew."""
        head, tail, printed, chars = self._head, self._tail, self._bytes, self._chars
        self._head, self._tail, self._bytes, self._chars = bytearray(), bytearray(), 0, 0
        if printed <= 2 * self._half:
            text = _decode(head + tail)
            return text, len(text)
        first, last = _decode(_whole_end(head)), _decode(_whole_start(tail[-self._half :]))
        chars = max(chars, len(first) + len(last))
        cut = chars - len(first) - len(last)
        return f"{first}\n[... {cut:,} characters cut ...]\n{last}", chars


def _whole_end(data: bytearray) -> bytearray:
    """Drop a character that the cut left incomplete at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        return data if length <= back else data[:-back]
    return data


def _whole_start(data: bytearray) -> bytearray:
    """Drop the rest of a character that the cut left at the start."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:]


def _decode(data: bytes | bytearray) -> str:
    return bytes(data).decode("utf-8", _ERRORS)


def _as_printed(error: UnicodeError) -> tuple[str | bytes, int]:
    """Keep lone surrogates, which Python prints as they are; show any other byte that is no UTF-8 as U+FFFD."""
    try:
        return codecs.lookup_error("surrogatepass")(error)
    except UnicodeError:
        return codecs.lookup_error("replace")(error)


codecs.register_error(_ERRORS, _as_printed)
