"""Streams of a run that their reader may leave at any time: the run is let go, and can be gone on with at once.

An asynchronous generator that nobody refers to any more is closed by its event loop, in a task of a later turn of that
loop, and by nobody once the loop is closed. Until then the run would be held. Here it is known which streams were left,
so whoever wants the run next waits for their ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

from rlm_graph.bridge import in_thread
from rlm_graph.errors import RunHeldError
from rlm_graph.storage.locks import HERE

T = TypeVar("T")
Lock = Callable[[], AbstractContextManager[None]]
"""Gives the lock of a run, anew for each attempt to enter it."""

LEAVING_S = 30.0
"""Seconds that the ends of streams that were left are waited for. A step under way is cancelled, which takes less."""

_left: dict[concurrent.futures.Future[None], tuple[asyncio.AbstractEventLoop, ExitStack | None]] = {}
"""The streams that were left and have not ended, each as what is done at its end.

With the loop that ends it, and with what its generator has entered.
"""
_closing: set[asyncio.Task[None]] = set()
"""Loops refer to their tasks weakly."""


class GraphStream(AsyncIterator[T]):
    """What an asynchronous generator yields. Once nobody refers to the stream any more, the generator is closed.

    `hold` is what the generator has entered: the lock of its run.
    """

    def __init__(self, parts: AsyncGenerator[T, None], hold: ExitStack | None = None) -> None:
        self._parts = parts
        self._hold = hold
        self._loop: asyncio.AbstractEventLoop | None = None

    def __aiter__(self) -> GraphStream[T]:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> T:
        """Return the next part."""
        self._loop = asyncio.get_running_loop()
        return await anext(self._parts)

    async def aclose(self) -> None:
        """Leave the stream, and wait until its run is free."""
        await self._parts.aclose()

    def __del__(self) -> None:
        """Have the generator closed, if it has begun and not ended."""
        if self._loop is None or self._parts.ag_frame is None:  # type: ignore[attr-defined]  # of a generator
            return
        if self._loop.is_closed():
            if self._hold is not None:
                self._hold.close()  # no code of the generator can run any more
        else:
            _leave(self._parts, self._loop, self._hold)


class OwnedStream(AsyncIterator[T]):
    """What an asynchronous generator yields that its owner closes, and not the event loop.

    `asyncio.run` closes all generators that have not ended at once, and complains about one that another is closing.
    """

    def __init__(self, parts: AsyncGenerator[T, None]) -> None:
        self._parts = parts
        self._begun = False

    def __anext__(self) -> Awaitable[T]:
        """Return the next part."""
        if self._begun:
            return anext(self._parts)
        self._begun = True
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)  # they are looked at when the first part is asked for
        try:
            return anext(self._parts)
        finally:
            sys.set_asyncgen_hooks(*hooks)

    async def aclose(self) -> None:
        """Close the generator."""
        await self._parts.aclose()


def _leave(parts: AsyncGenerator[Any, None], loop: asyncio.AbstractEventLoop, hold: ExitStack | None) -> None:
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()
    _left[ended] = loop, hold

    def end(task: asyncio.Task[None] | None = None) -> None:
        _left.pop(ended, None)
        ended.set_result(None)
        if task is not None:
            _closing.discard(task)

    def begin() -> None:
        closing = loop.create_task(_closed(parts))
        _closing.add(closing)
        closing.add_done_callback(end)

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError:  # the loop was closed meanwhile
        end()


async def _closed(parts: AsyncGenerator[Any, None]) -> None:
    await parts.aclose()


def take(hold: ExitStack, lock: Lock) -> None:
    """Enter the lock of a run. Raises `RunHeldError` if somebody has it, but for a stream that is being left."""
    none_left = False
    while True:
        try:
            return hold.enter_context(lock())
        except RunHeldError as error:
            # A stream of this thread's own loop cannot end while the thread waits.
            here = asyncio._get_running_loop()
            left = [ended for ended, loop in _streams_left(error).items() if loop is not here]
            if none_left or (left and not concurrent.futures.wait(left, timeout=LEAVING_S).done):
                raise
            none_left = not left


async def atake(hold: ExitStack, lock: Lock) -> None:
    """Enter the lock of a run; see `take`."""
    none_left = False
    while True:
        try:
            return await in_thread(hold.enter_context, lock())
        except RunHeldError as error:
            left = [asyncio.wrap_future(ended) for ended in _streams_left(error)]
            if none_left or (left and not (await asyncio.wait(left, timeout=LEAVING_S))[0]):
                raise
            none_left = not left


def _streams_left(
    error: RunHeldError,
) -> dict[concurrent.futures.Future[None], asyncio.AbstractEventLoop]:
    """Return the streams of this process that are being left. Raises the error if another process holds the run."""
    if error.holder != HERE:
        raise error
    if not _left:
        gc.collect()  # an exception that was handled may hold the stream in a cycle
    for ended, (loop, hold) in list(_left.items()):
        if loop.is_closed():  # before the generator had ended, and no code of it can run any more
            _left.pop(ended, None)
            if hold is not None:
                hold.close()
    return {ended: loop for ended, (loop, _) in list(_left.items())}
