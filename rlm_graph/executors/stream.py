"""The streams that carry frames between a host and a supervisor, as far as a REPL needs to know them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol


class Reader(Protocol):
    """What is read of a stream: `asyncio.StreamReader` will do."""

    async def read(self, n: int) -> bytes:
        """Return up to `n` bytes; none at the end. Raises `OSError` if the stream broke."""


class Writer(Protocol):
    """What is written of a stream: `asyncio.StreamWriter` will do."""

    def write(self, data: bytes) -> None:
        """Take bytes to be sent."""

    async def drain(self) -> None:
        """Wait until more can be taken. Raises `OSError` if the stream broke."""

    def close(self) -> None:
        """Begin to close the stream."""

    async def wait_closed(self) -> None:
        """Wait until it is closed."""


Connect = Callable[[], Awaitable[tuple[Reader, Writer]]]
"""Opens a stream to the supervisor; raises `OSError` if nobody listens."""
