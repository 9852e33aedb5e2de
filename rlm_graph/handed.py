"""Texts that code hands over by the place where they lie, so that no copy of them travels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rlm_graph.state import ContextRef

BLOCK_BYTES = 1 << 20
MAX_READ_BYTES = 4 << 30
"""Of texts that are read, in one call and in all unanswered calls of a cell: a few words name a context, as often as
code likes."""
_CONTINUATION = bytes(range(0x80, 0xC0))


@dataclass(frozen=True)
class TextAt:
    """A text that is part of a file, in UTF-8 with lone surrogates passed through."""

    file: Path
    start: int
    """Its first byte."""
    size: int
    """Its bytes."""
    chars: int
    of: str | None = None
    """The name of the stored context whose text the file is; None if the file goes when the call is answered."""

    def read(self) -> str:
        """Return it. Blocks."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size).decode("utf-8", "surrogatepass")

    def blocks(self) -> Iterator[bytes]:
        """Yield its bytes, whole characters at a time. Blocks."""
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.start)
            left, rest = self.size, b""
            while left and (data := file.read(min(BLOCK_BYTES, left))):
                left -= len(data)
                data = rest + data
                cut = len(data) if not left else _last_lead(data)
                rest = data[cut:]
                if cut:
                    yield data[:cut]
            if rest:
                yield rest


@dataclass(frozen=True)
class WholeContext:
    """All of a context that the run has."""

    ref: ContextRef
    folder: Path
    """Where the context store keeps it."""

    @property
    def size(self) -> int:
        """The bytes of its texts."""
        return self.ref.bytes

    def read(self) -> str | list[str] | dict[str, str]:
        """Return its content as a REPL sees it. Blocks."""
        index = json.loads((self.folder / "index.json").read_bytes())
        texts = [
            TextAt(self.folder / "text", part["start"], part["bytes"], part["chars"]).read() for part in index["parts"]
        ]
        if index["kind"] == "dict":
            return {str(part["name"]): text for part, text in zip(index["parts"], texts, strict=True)}
        return texts if index["kind"] == "list" else texts[0]


class ReadingRoom:
    """Has calls whose texts are read into memory wait until others have left enough of `MAX_READ_BYTES`."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Have room for so many bytes inside. Raises `ValueError` if there never is."""
        if size > MAX_READ_BYTES:
            raise ValueError(f"texts of {size:,} bytes together, more than {MAX_READ_BYTES:,}; ask in parts")
        while self._taken and self._taken + size > MAX_READ_BYTES:
            left = asyncio.get_running_loop().create_future()
            self._waiting.append(left)
            await left
        self._taken += size
        try:
            yield
        finally:
            self._taken -= size
            waiting, self._waiting = self._waiting, []
            for left in waiting:
                if not left.done():
                    left.set_result(None)


def characters(data: bytes) -> int:
    """Return how many characters begin in a piece of UTF-8."""
    return len(data.translate(None, _CONTINUATION))


def begins_inside(data: bytes) -> bool:
    """Whether the first byte belongs to a character that begins before."""
    return bool(data) and data[0] & 0xC0 == 0x80


def _last_lead(data: bytes) -> int:
    """Return where the last character begins, which may not be whole."""
    place = len(data) - 1
    while place > 0 and data[place] & 0xC0 == 0x80:
        place -= 1
    return place
