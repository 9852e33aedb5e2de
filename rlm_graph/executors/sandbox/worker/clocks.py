"""The clocks that code reads: what they show is told to the host, and shown again when the cell runs again."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import gc
import sys
import time
import types
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from rlm_graph.executors.sandbox.readings import CLOCKS, MAX_OF_STREAM, MAX_READINGS, Readings, name_of
from rlm_graph.executors.sandbox.worker.lanes import Lane, Lanes

_WAITING = frozenset({
    "asyncio", "concurrent", "multiprocessing", "queue", "rlm_graph", "sched", "selectors", "socket", "subprocess",
    "threading",
})  # fmt: skip
"""Modules that read clocks to know how long to wait: as often as it happens, so that nobody could repeat it."""
_NODE = 0x01524C4D0000
"""For `uuid1`, in the place of the address of a network card, which a sandbox has none of."""


class _Stream:
    """What a lane has read of one clock."""

    def __init__(self, lane: str, clock: str, recorded: list[int]) -> None:
        self.lane, self.clock = lane, clock
        self.values = recorded
        self.next = 0
        self.told = len(recorded)
        self.waits_to_be_told = False


class Clocks:
    """Shows real times in the first run of a cell, and in a replay those of the record until they are used up.

    Then it goes on from there: `time.time` with the real time, if that is later, the others from the last that any lane
    had read. All of Python's clocks are meant that code commonly reads, and dates, which Python computes of them; what
    C code of other libraries asks the system itself is not.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        # WebAssembly has no time of a thread.
        self._real: dict[str, Callable[[], int]] = {
            name: getattr(time, f"{name}_ns") for name in CLOCKS if hasattr(time, f"{name}_ns")
        }
        self._shift = dict.fromkeys(CLOCKS, 0)
        """Nanoseconds by which each is ahead of the real one."""
        self._recorded: dict[str, list[int]] = {}
        self._untold: deque[_Stream] = deque()
        self._room = 0

    def install(self) -> None:
        """Put these clocks in the place of Python's."""
        module: Any = time
        for name in self._real:
            setattr(module, name, self._seconds(name))
            setattr(module, f"{name}_ns", self._nanoseconds(name))
        self._install_gettime(module)
        _install_broken_down(module, self._now)
        with contextlib.suppress(Exception):  # a Python of another make has no such place, and tells the real time
            _install_dates(self._now)
        uuids: Any = uuid
        uuids._generate_time_safe = uuids._UuidCreate = None  # which ask the system
        uuids._node = _NODE

    def begin(self, started_at: float | None, recorded: Readings) -> None:
        """Start a cell. `started_at`, in Unix seconds, and what is recorded are those of a replay."""
        self._recorded = {name.rpartition(" ")[0]: list(values) for name, values in recorded.items()}
        self._room = MAX_READINGS - sum(map(len, self._recorded.values()))
        self._untold.clear()
        self._shift["time"] = 0 if started_at is None else int(started_at * 1e9) - self._real["time"]()
        for clock in self._real:
            shown = [max(values) for stream, values in self._recorded.items() if stream.endswith(f" {clock}")]
            if shown:
                ahead = max(shown) - self._real[clock]()
                self._shift[clock] = max(ahead, self._shift[clock]) if clock == "time" else ahead

    def tell(self) -> dict[str, list[int]]:
        """Return what was read since this was asked before: none of what was recorded already."""
        told: dict[str, list[int]] = {}
        while self._untold:
            stream = self._untold.popleft()
            stream.waits_to_be_told = False
            position, stream.told = stream.told, len(stream.values)
            if stream.told > position:
                told[name_of(stream.lane, stream.clock, position)] = stream.values[position : stream.told]
        return told

    def _now(self) -> float:
        """Return what `time.time` shows to code."""
        return self._read("time") / 1e9

    def _shown(self, clock: str, caller: types.FrameType | None) -> int:
        """Return what the clock shows to the code of that frame."""
        module = None if caller is None else caller.f_globals.get("__name__")
        if type(module) is str and module.partition(".")[0] in _WAITING:
            return self._real[clock]() + self._shift[clock]
        return self._read(clock)

    def _read(self, clock: str) -> int:
        now = self._real[clock]() + self._shift[clock]
        lane = self._lanes.current()
        if lane is None:
            return now
        stream = lane.streams.get(clock) or self._open(lane, clock)
        position, values = stream.next, stream.values
        if position < len(values):
            stream.next = position + 1
            return values[position]
        if position == len(values) < MAX_OF_STREAM and self._room > 0:
            self._room -= 1
            values.append(now)
            if not stream.waits_to_be_told:
                stream.waits_to_be_told = True
                self._untold.append(stream)
        stream.next = position + 1
        return now

    def _open(self, lane: Lane, clock: str) -> _Stream:
        recorded = self._recorded.get(f"{lane.name} {clock}", [])
        stream = lane.streams[clock] = _Stream(lane.name, clock, list(recorded))
        return stream

    def _seconds(self, clock: str) -> Callable[[], float]:
        def seconds() -> float:
            return self._shown(clock, sys._getframe().f_back) / 1e9

        return cast("Callable[[], float]", _named(seconds, clock))

    def _nanoseconds(self, clock: str) -> Callable[[], int]:
        def nanoseconds() -> int:
            return self._shown(clock, sys._getframe().f_back)

        return cast("Callable[[], int]", _named(nanoseconds, f"{clock}_ns"))

    def _install_gettime(self, module: Any) -> None:
        """Have the functions that are given the number of a clock show that clock too."""
        if not hasattr(module, "clock_gettime_ns"):
            return
        names = {"CLOCK_REALTIME": "time", "CLOCK_MONOTONIC": "monotonic", "CLOCK_PROCESS_CPUTIME_ID": "process_time"}
        numbers = {getattr(module, number): clock for number, clock in names.items() if hasattr(module, number)}
        gettime, gettime_ns = module.clock_gettime, module.clock_gettime_ns

        def clock_gettime(number: int, /) -> float:
            clock = numbers.get(number)
            return gettime(number) if clock is None else self._read(clock) / 1e9

        def clock_gettime_ns(number: int, /) -> int:
            clock = numbers.get(number)
            return gettime_ns(number) if clock is None else self._read(clock)

        for function in (clock_gettime, clock_gettime_ns):
            setattr(module, function.__name__, _named(function, function.__name__))


def _named(function: Any, name: str) -> Any:
    real = getattr(time, name, None)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = getattr(real, "__doc__", None)
    return function


def _install_broken_down(module: Any, current: Callable[[], float]) -> None:
    """Have the functions that tell the current time where none is given tell that of `time.time`."""
    localtime, gmtime, ctime, asctime, strftime = (
        module.localtime, module.gmtime, module.ctime, module.asctime, module.strftime,
    )  # fmt: skip
    replaced: dict[str, Callable[..., Any]] = {
        "localtime": lambda seconds=None, /: localtime(current() if seconds is None else seconds),
        "gmtime": lambda seconds=None, /: gmtime(current() if seconds is None else seconds),
        "ctime": lambda seconds=None, /: ctime(current() if seconds is None else seconds),
        "asctime": lambda *given: asctime(*(given or (localtime(current()),))),
        "strftime": lambda form, *given: strftime(form, *(given or (localtime(current()),))),
    }
    for name, function in replaced.items():
        setattr(module, name, _named(function, name))


def _install_dates(current: Callable[[], float]) -> None:
    """Put other class methods into the types of `datetime`, which stay the types that they are.

    They are built in, so that only the dict behind them can be changed; a stand-in for a type would break pickling.
    """

    def now(cls: Any, tz: datetime.tzinfo | None = None) -> Any:
        return cls.fromtimestamp(current(), tz)

    def utcnow(cls: Any) -> Any:
        return cls.fromtimestamp(current(), datetime.timezone.utc).replace(tzinfo=None)  # noqa: UP017  # before Python 3.11

    def today(cls: Any) -> Any:
        return cls.fromtimestamp(current())

    for kind, methods in ((datetime.datetime, (now, utcnow)), (datetime.date, (today,))):
        (attributes,) = (held for held in gc.get_referents(vars(kind)) if type(held) is dict)
        for method in methods:
            attributes[method.__name__] = classmethod(_documented(method, getattr(kind, method.__name__)))
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _documented(function: Any, real: Any) -> Any:
    function.__qualname__, function.__doc__ = real.__qualname__, real.__doc__
    return function
