"""A text that the store has already, recognised while it is taken in once more: then nothing of it is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

from rlm_graph.context.memory import BLOCK

KNOWN_BYTES = 16 << 20
"""A shorter text is written faster than it is looked for among ten thousand others."""


class KnownText:
    """A stored text that has been, so far, the one that comes."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    @classmethod
    def find(cls, paths: Iterable[Path], size: int, beginning: bytes) -> KnownText | None:
        """Return the text among `paths` that is of that size and begins so."""
        for path in paths:
            with suppress(OSError):  # it may be removed at any time; once it is open it stays
                if path.stat().st_size == size:
                    known = cls(FileIO(path))
                    if known.has(beginning, at=0):
                        return known
                    known.close()
        return None

    def has(self, data: bytes, *, at: int) -> bool:
        """Tell whether it goes on so."""
        return os.pread(self._file.fileno(), len(data), at) == data

    def blocks(self, size: int) -> Iterator[bytes]:
        """Yield its first `size` bytes. Raises `OSError` if it has become shorter."""
        for start in range(0, size, BLOCK):
            block = os.pread(self._file.fileno(), min(BLOCK, size - start), start)
            if len(block) < min(BLOCK, size - start):
                raise OSError(f"{self._file.name} was cut off meanwhile")
            yield block

    def close(self) -> None:
        self._file.close()
