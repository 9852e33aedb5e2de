"""A stored context as it is put into a sandbox that cannot read this machine's files: with its own bytes alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rlm_graph.executors.sandbox.spans import span


def packed(folder: Path) -> tuple[int, int, bytes]:
    """Return where in its text a context begins, how many bytes it has, and its index over those alone.

    Raises `OSError` if it is not there.
    """
    index = json.loads((folder / "index.json").read_bytes())
    start, size, parts = span(index["parts"])
    return start, size, json.dumps({**index, "parts": parts}).encode()


class Span(io.RawIOBase):
    """Some bytes of a file, as a file of their own that can be read."""

    def __init__(self, file: Path, start: int, size: int) -> None:
        """Raises `OSError` if the file is not there."""
        super().__init__()
        self._file = file.open("rb", buffering=0)
        self._start, self._size = start, size
        self._file.seek(start)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read again."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte of the span."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._file.tell() - self._start, io.SEEK_END: self._size}[whence]
        return self._file.seek(self._start + base + offset) - self._start

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # whatever can be written to
        """Read what is next, and nothing behind the span."""
        left = max(self._start + self._size - self._file.tell(), 0)
        return self._file.readinto(memoryview(buffer)[:left]) or 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
