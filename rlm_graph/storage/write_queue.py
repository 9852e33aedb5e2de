"""What waits to be written while something is on its way to disk goes together in the next transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

W = TypeVar("W")
T = TypeVar("T")


class WriteQueue(Generic[W, T]):
    """The writes of the tasks of one event loop. Whoever writes alone waits for nobody."""

    def __init__(
        self,
        write_together: Callable[[Sequence[W]], Awaitable[Sequence[T | Exception]]],
        *,
        together: Callable[[Sequence[W]], int] = len,
    ) -> None:
        """`write_together` returns what came of each write; `together` how many of those that wait go at once."""
        self._write_together = write_together
        self._together = together
        self._waiting: list[tuple[W, asyncio.Future[T]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, write: W) -> T:
        """Return what came of the write, or raise it. Who is cancelled meanwhile does not know whether it was done."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await done

    async def end(self) -> None:
        """Have all written that waits."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write_all(self) -> None:
        under_way: list[tuple[W, asyncio.Future[T]]] = []
        try:
            while self._waiting:
                count = self._together([write for write, _ in self._waiting])
                under_way, self._waiting = self._waiting[:count], self._waiting[count:]
                outcomes = await self._write_together([write for write, _ in under_way])
                for (_, done), outcome in zip(under_way, outcomes, strict=True):
                    if done.done():  # its caller was cancelled
                        continue
                    if isinstance(outcome, Exception):
                        done.set_exception(outcome)
                    else:
                        done.set_result(outcome)
        except BaseException:
            # The event loop ends, or the place was closed: nobody may wait for ever.
            for _, done in (*under_way, *self._waiting):
                done.cancel()
            self._waiting = []
            raise
        finally:
            self._writing = None
