"""What the clocks of a cell showed to its code, as frames and records hold it: texts and integers, and few of them.

Readings are a dict: for each stream, `"<lane> <clock> <position>"` → the readings from that position on, in order, in
nanoseconds. A lane is what runs one after another in a cell, see `rlm_graph.executors.sandbox.worker.lanes`; it and a
clock make a stream, whose readings are numbered from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Readings = Mapping[str, Sequence[int]]

CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
"""By their names in Python's module `time`."""
MAX_READINGS = 10_000
"""Of one cell. Those after them are told to nobody, and not repeated in a replay."""
MAX_OF_STREAM = 1_000
MAX_LANE_CHARS = 60

_STREAM = re.compile(rf"(0(?:\.\w{{1,20}}){{0,30}}) ({'|'.join(CLOCKS)}) (\d{{1,5}})", re.ASCII)
_NANOSECONDS = range(-(1 << 63), 1 << 63)


def checked_readings(told: Any, *, at_most: int = MAX_READINGS) -> dict[str, list[int]]:
    """Return readings as they are, if they are some and not too many. Raises `ValueError`."""
    if not isinstance(told, dict) or len(told) > at_most:
        raise ValueError("readings of clocks that are none")
    left = at_most
    for stream, values in told.items():
        if not isinstance(stream, str) or len(stream) > MAX_LANE_CHARS + 30 or not _STREAM.fullmatch(stream):
            raise ValueError("readings of a clock that there is not")
        if not isinstance(values, list) or not 0 < len(values) <= left:
            raise ValueError("more readings of clocks than a cell tells of")
        if not all(type(value) is int and value in _NANOSECONDS for value in values):
            raise ValueError("a time that is none")
        left -= len(values)
    return told


def name_of(lane: str, clock: str, position: int) -> str:
    """Return the key of the readings of a stream from that position on."""
    return f"{lane} {clock} {position}"


def whole_streams(*told: Readings) -> dict[str, list[int]]:
    """Return each stream in one piece, from position 0 as far as nothing of it is missing."""
    pieces: list[tuple[str, int, Sequence[int]]] = []
    for readings in told:
        for name, values in readings.items():
            stream, _, position = name.rpartition(" ")
            pieces.append((stream, int(position), values))
    streams: dict[str, list[int]] = {}
    for stream, start, values in sorted(pieces, key=lambda piece: piece[:2]):
        known = streams.setdefault(stream, [])
        if start <= len(known):
            known.extend(values[len(known) - start :])
    return {f"{stream} 0": values for stream, values in streams.items() if values}
