"""The one bridge between the synchronous and the asynchronous way to run a graph.

The engine is asynchronous inside. Under `invoke` and `stream`, LangGraph calls nodes as plain functions and the saver
may be a synchronous one; the nodes' coroutines then run on one event loop in a thread of its own, with the child graphs
that they start: see `ThreadedSaver` for how those use a synchronous saver.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ENDING_S = 10.0
"""Seconds that a coroutine has to end after it was cancelled."""
UNDER_WAY = "__rlm_graph_under_way"
"""Key in a config for the `UnderWay` of its stream."""

_under_invoke: contextvars.ContextVar[bool] = contextvars.ContextVar("rlm_graph_under_invoke", default=False)


def under_invoke() -> bool:
    """Tell whether the running node was reached through `invoke` or `stream`."""
    return _under_invoke.get()


class UnderWay:
    """What the nodes of one `stream` are at work on, so that whoever leaves the stream can end it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._works: set[_Work[Any]] = set()
        self._over = False

    def add(self, work: _Work[Any]) -> None:
        """Note that a node is at work, until it has ended."""
        with self._guard:
            self._works.add(work)
            over = self._over
        work.outcome.add_done_callback(lambda _: self._works.discard(work))
        if over:
            work.cancel()

    def cancel(self) -> None:
        """End what is under way, and whatever would begin now."""
        with self._guard:
            self._over = True
            works = list(self._works)
        for work in works:
            work.cancel()


class _Work(Generic[T]):
    """A coroutine on the bridge's loop. Its outcome is there when nothing of the coroutine runs any more."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.outcome: Future[T] = Future()
        self._coroutine = coroutine
        self._loop = _loop()
        self._task: asyncio.Task[T] | None = None
        context = contextvars.copy_context()
        context.run(_under_invoke.set, True)
        self._loop.call_soon_threadsafe(self._begin, context=context)

    def cancel(self) -> None:
        """Have the coroutine end; from any thread."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._settle)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _settle(self, task: asyncio.Task[T]) -> None:
        error = CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self.outcome.set_result(task.result())
        else:
            self.outcome.set_exception(error)


def run_blocking(coroutine: Coroutine[Any, Any, T], under_way: UnderWay | None = None) -> T:
    """Run a coroutine on the bridge's loop and wait for it; a `KeyboardInterrupt` cancels it, as `under_way` does.

    Either way nothing of it runs any more when this returns, or `ENDING_S` later.
    """
    work = _Work(coroutine)
    if under_way is not None:
        under_way.add(work)
    try:
        return work.outcome.result()
    except BaseException:
        if not work.outcome.done():
            work.cancel()
            wait([work.outcome], timeout=ENDING_S)
        raise


async def to_its_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end even if whoever waits for it is cancelled, which then is raised afterwards."""
    work = asyncio.ensure_future(coroutine)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # seen, so that nobody is told that it was not: the cancellation goes first
        raise


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread of its own, with this context.

    A pool could run out: a tool may hold its thread for as long as it likes.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    bound = functools.partial(contextvars.copy_context().run, call, *args, **kwargs)

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # there is a result where there is no error
        else:
            future.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = bound()
        except BaseException as raised:  # carried to the caller, whatever it is
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="rlm-graph-child", daemon=True).start()
    return await future


_lock = threading.Lock()
_running: asyncio.AbstractEventLoop | None = None


def _loop() -> asyncio.AbstractEventLoop:
    global _running
    with _lock:
        if _running is None or _running.is_closed():
            _running = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(_running,), name="rlm-graph-loop", daemon=True).start()
        return _running


_inherited: list[asyncio.AbstractEventLoop] = []
"""The loop of the process that this one was forked from: its thread is not here, and to close it would disturb it."""


def _after_fork() -> None:
    global _lock, _running
    if _running is not None:
        _inherited.append(_running)
    _lock, _running = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop for good. asyncio lets these two out of it, once the task that raised them has them."""
    while not loop.is_closed():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue
        break
