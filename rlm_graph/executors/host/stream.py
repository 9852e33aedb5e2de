"""The streams that carry frames between an owner and a supervisor, as far as a REPL needs to know them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from rlm_graph.errors import ExecutorError


class LinkLost(ExecutorError):
    """Nobody can tell now whether the supervisor is there: the way to the sandbox does not work, and soon may again."""


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
"""Opens a stream to the supervisor; raises `OSError` if nobody listens, `LinkLost` if that cannot be told."""


class Persistence(NamedTuple):
    """How often a stream that breaks in a cell is opened again."""

    pauses_s: Sequence[float] = (0.0, 0.2, 1.0, 3.0)
    """Before each attempt, as long as nothing comes of them. When these are used up, the wait for the cell ends."""
    steady_s: float = 60.0
    """A stream that held for so many seconds has been of use, though the cell said nothing: it may have computed."""
    silence_s: float = 60.0
    """Beside the time that a cell may compute: a supervisor that tells nothing for longer is asked again, once."""


PERSISTENCE = Persistence()
