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
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from langchain_core.runnables import RunnableLambda

P = ParamSpec("P")
T = TypeVar("T")

_under_invoke: contextvars.ContextVar[bool] = contextvars.ContextVar("rlm_graph_under_invoke", default=False)


def under_invoke() -> bool:
    """Tell whether the running node was reached through `invoke` or `stream`."""
    return _under_invoke.get()


def node(work: Callable[..., Awaitable[T]], **given: Any) -> RunnableLambda[Any, T]:
    """Make a graph node of a coroutine function, named as it is, with `given` as its keyword arguments."""

    async def run(state: Any) -> T:
        return await work(state, **given)

    def run_under_invoke(state: Any) -> T:
        return run_blocking(run(state))

    return RunnableLambda(run_under_invoke, afunc=run, name=work.__name__)


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the bridge's loop and wait for it; a `KeyboardInterrupt` cancels it."""
    context = contextvars.copy_context()
    context.run(_under_invoke.set, True)
    future = context.run(asyncio.run_coroutine_threadsafe, work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
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


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop for good. asyncio lets these two out of it, once the task that raised them has them."""
    while not loop.is_closed():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue
        break
