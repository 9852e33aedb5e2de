"""Chance and the clock, told so that a cell that runs again finds what it found."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from typing import Any


class Determinism:
    """Seeds each cell and, on a replay, sets the clock back to when the cell first ran.

    Seeded are `random`, `numpy.random` once it is imported, and `os.urandom` with what draws from it (`uuid4`,
    `secrets`, numpy's generators). The clock is `time.time` and `time.time_ns`; `datetime.now` tells the real time,
    because a stand-in for its type would break pickling. Nothing here keeps a secret, so none is given away.
    """

    def __init__(self) -> None:
        self._time, self._time_ns = time.time, time.time_ns
        self._offset = 0.0
        self._key = b""
        self._drawn = 0

    def install(self) -> None:
        """Put the seeded sources in place of the real ones."""
        os.urandom = self._urandom
        random._urandom = self._urandom  # type: ignore[attr-defined]  # SystemRandom took its own reference
        time.time = lambda: self._time() + self._offset
        time.time_ns = lambda: self._time_ns() + int(self._offset * 1e9)

    def begin(self, seed: int, started_at: float | None) -> None:
        """Start a cell. `started_at` is in Unix seconds, and given on a replay only."""
        self._offset = 0.0 if started_at is None else started_at - self._time()
        self._key, self._drawn = seed.to_bytes(32, "big"), 0
        random.seed(seed)
        numpy_random: Any = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed(seed % 2**32)

    def _urandom(self, size: int) -> bytes:
        if size < 0:
            raise ValueError("negative argument not allowed")
        drawn = b""
        while len(drawn) < size:
            self._drawn += 1
            drawn += hashlib.sha512(self._key + self._drawn.to_bytes(8, "big")).digest()
        return drawn[:size]
