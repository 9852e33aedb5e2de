"""Threads, sleep and event loops where there is one thread only.

WebAssembly gives Python no second one. What code does with threads mostly works all the same: a thread runs when
somebody waits for it, or at the end of its cell; work that is handed to a pool is done at once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.thread
import importlib
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

CLOCK = "/dev/rlm-clock"
ALONE = "nobody else can run: this Python has one thread, which would wait for ever"

_threads: deque[threading.Thread] = deque()
"""Started, and not begun."""
_monotonic = time.monotonic


def install() -> None:
    """Put this in place of what needs threads."""
    clock: Any = time
    clock.sleep = sleep
    thread: Any = threading.Thread
    thread.start, thread.join, thread.is_alive = _start, _join, _is_alive
    condition: Any = threading.Condition
    condition.wait = _wait
    queue.SimpleQueue = queue._PySimpleQueue  # type: ignore[attr-defined,misc]  # the other one waits in C, for ever
    pools: tuple[Any, ...] = (concurrent.futures, concurrent.futures.thread)
    for module in pools:
        module.ThreadPoolExecutor = InlineExecutor
    runners: Any = importlib.reload(asyncio.runners)  # Pyodide has put its own `run` there
    loops: Any = asyncio
    loops.run, loops.Runner = runners.run, runners.Runner
    events: Any = asyncio.events
    events._set_running_loop(None)  # Pyodide's own, which JavaScript would have to turn
    events._set_event_loop_policy(InlinePolicy())


def run_threads() -> None:
    """Run the threads that were started and that nobody has waited for."""
    while _threads:
        _run(_threads.popleft())


def forget_threads() -> None:
    """Leave those that have not begun undone: their cell is over."""
    _threads.clear()


def sleep(seconds: float) -> None:
    """Delay execution for a given number of seconds, which may be a fraction."""
    if math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    run_threads()
    _pause(seconds)


def _pause(seconds: float) -> None:
    clock = os.open(CLOCK, os.O_WRONLY)
    try:
        os.write(clock, f"{min(seconds, 1e9) * 1000:.3f}".encode())
    finally:
        os.close(clock)


def _start(self: Any) -> None:
    if not self._initialized:
        raise RuntimeError("thread.__init__() not called")
    if self._started.is_set():
        raise RuntimeError("threads can only be started once")
    self._started.set()
    self._rlm_done = False
    _threads.append(self)


def _join(self: Any, timeout: float | None = None) -> None:
    if not self._started.is_set():
        raise RuntimeError("cannot join thread before it is started")
    if self is threading.current_thread():
        raise RuntimeError("cannot join current thread")
    # Those before it first: it may wait for what they do.
    while self in _threads:
        _run(_threads.popleft())


def _is_alive(self: Any) -> bool:
    return self._started.is_set() and not getattr(self, "_rlm_done", False)


def _run(thread: Any) -> None:
    number = threading.get_ident()
    active: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]  # where `current_thread` looks
    before = active.get(number)
    active[number] = thread
    thread._ident = number
    try:
        thread.run()
    except SystemExit:
        pass
    except KeyboardInterrupt:  # meant for the cell
        raise
    except BaseException as error:
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))
    finally:
        thread._rlm_done = True
        if before is None:
            del active[number]
        else:
            active[number] = before


def _wait(self: Any, timeout: float | None = None) -> bool:
    """Wait for `notify`, which can come from a thread that has not begun yet, and from nobody else."""
    if not self._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    told = threading.Lock()
    told.acquire()
    self._waiters.append(told)
    saved = self._release_save()
    try:
        while told.locked() and _threads:
            _run(_threads.popleft())
        if told.locked() and timeout is None:
            raise RuntimeError(ALONE)
        if told.locked():
            _pause(max(timeout or 0.0, 0.0))
        return not told.locked()
    finally:
        self._acquire_restore(saved)
        if told.locked():
            self._waiters.remove(told)


class InlineExecutor(concurrent.futures.Executor):
    """A pool whose work is done when it is handed in: each future has its outcome already."""

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **_: Any,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._max_workers = max_workers or 1
        self._initializer, self._initargs = initializer, initargs
        self._shutdown = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Call `fn` and return its outcome as a future."""
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        initializer, self._initializer = self._initializer, None
        if initializer is not None:
            initializer(*self._initargs)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except KeyboardInterrupt:  # meant for the cell
            raise
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work."""
        self._shutdown = True


class _Selector:
    """Has no descriptors to watch: only time passes."""

    def select(self, timeout: float | None) -> list[Any]:
        if _threads:
            run_threads()  # and see what they have made ready
        elif timeout is None or timeout > 0:
            _pause(1e9 if timeout is None else timeout)
        return []

    def close(self) -> None:
        pass


class InlineLoop(asyncio.BaseEventLoop):
    """An event loop without network: tasks, timers and work in threads."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class InlinePolicy(asyncio.events._BaseDefaultEventLoopPolicy):  # type: ignore[name-defined,misc]  # of Python 3.14
    """Makes such loops."""

    _loop_factory = InlineLoop
