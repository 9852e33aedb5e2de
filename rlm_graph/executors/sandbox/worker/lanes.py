"""Lanes: what of a cell's code runs one thing after another. Each has a name that is the same in every run."""

from __future__ import annotations

import concurrent.futures.thread
import hashlib
import threading
from collections.abc import Callable
from typing import Any

from rlm_graph.executors.sandbox.readings import MAX_LANE_CHARS

_ATTRIBUTE = "_rlm_lane"


class Lane:
    """The cell's own code, a thread that it has started, or a task that it has given to a pool of threads.

    A lane is named after the lane that started it, and how many that one had started before: threads run in an order
    of their own, but each starts others in the order in which its code says so. A task has a lane to itself, for which
    of a pool's threads takes it is chance.
    """

    def __init__(self, name: str, cell: object) -> None:
        self.name = name
        self.cell = cell
        """What the lanes of one run of a cell have in common."""
        self.streams: dict[str, Any] = {}
        """What it has read of each clock."""
        self.drawn = 0
        """Blocks of chance that it has drawn."""
        self._started = 0

    def start(self) -> Lane:
        """Return the lane of what this lane starts next."""
        self._started += 1
        name = f"{self.name}.{self._started}"
        if len(name) > MAX_LANE_CHARS:
            name = f"0.{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        return Lane(name, self.cell)


class Lanes:
    """Knows in which lane a thread runs, from the moment on that `install` was called."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._cell: object = None

    def install(self) -> None:
        """Have threads, and the tasks of pools, be given their lanes when they are started."""
        thread: Any = threading.Thread
        pool: Any = concurrent.futures.thread.ThreadPoolExecutor
        start, submit = thread.start, pool.submit

        def start_in_lane(self_: threading.Thread) -> None:
            lane = self.current()
            if lane is not None:
                setattr(self_, _ATTRIBUTE, lane.start())
            start(self_)

        def submit_in_lane(self_: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            lane = self.current()
            if lane is None:
                return submit(self_, fn, *args, **kwargs)
            task = _in_lane(self._here, lane.start(), fn)
            # A thread may be started for it, or not, as it happens: it counts for nothing.
            with _Within(self._here, None):
                return submit(self_, task, *args, **kwargs)

        thread.start, pool.submit = start_in_lane, submit_in_lane

    def begin(self) -> Lane:
        """Start a cell, whose own code runs in this thread. Return its lane."""
        self._cell = object()
        lane = Lane("0", self._cell)
        self._here.lane = lane
        return lane

    def current(self) -> Lane | None:
        """Return the lane of this thread; None if no lane of the running cell has started it."""
        try:
            lane: Lane | None = self._here.lane
        except AttributeError:
            lane = self._here.lane = getattr(threading.current_thread(), _ATTRIBUTE, None)
        return lane if lane is not None and lane.cell is self._cell else None


class _Within:
    """Has this thread run in a lane, or in none, for a while."""

    def __init__(self, here: threading.local, lane: Lane | None) -> None:
        self._here = here
        self._lane = lane

    def __enter__(self) -> None:
        self._before = getattr(self._here, "lane", None)
        self._here.lane = self._lane

    def __exit__(self, *_: object) -> None:
        self._here.lane = self._before


def _in_lane(here: threading.local, lane: Lane, fn: Callable[..., Any]) -> Callable[..., Any]:
    def task(*args: Any, **kwargs: Any) -> Any:
        with _Within(here, lane):
            return fn(*args, **kwargs)

    return task
