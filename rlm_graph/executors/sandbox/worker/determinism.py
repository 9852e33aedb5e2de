"""Chance and the clock, told so that a cell that runs again finds what it found."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from typing import Any

from rlm_graph.executors.sandbox.readings import Readings
from rlm_graph.executors.sandbox.worker.clocks import Clocks
from rlm_graph.executors.sandbox.worker.lanes import Lane, Lanes


class Determinism:
    """Seeds each cell, tells what its code reads of clocks, and on a replay shows it the same.

    Seeded are `random`, `numpy.random` once it is imported, and `os.urandom` with what draws from it (`uuid4`,
    `secrets`, generators without a seed). Nothing here keeps a secret, so none is given away.
    """

    def __init__(self) -> None:
        self._lanes = Lanes()
        self._clocks = Clocks(self._lanes)
        self._main = Lane("0", None)
        self._key = b""

    def install(self) -> None:
        """Put the seeded sources, and clocks that can be set back, in place of the real ones."""
        self._lanes.install()
        self._clocks.install()
        system: Any = os
        system.urandom = self._urandom
        if hasattr(system, "getrandom"):
            system.getrandom = lambda size, flags=0: self._urandom(size)
        generators: Any = random
        generators._urandom = self._urandom  # SystemRandom took its own reference
        seed = generators.Random.seed

        def seed_from_here(generator: random.Random, a: Any = None, version: int = 2) -> None:
            seed(generator, int.from_bytes(self._urandom(32), "big") if a is None else a, version)

        generators.Random.seed = seed_from_here  # which would ask the system itself
        generators.seed = generators._inst.seed

    def begin(self, seed: int, started_at: float | None, readings: Readings) -> None:
        """Start a cell. `started_at`, in Unix seconds, and `readings` are given on a replay only."""
        self._main = self._lanes.begin()
        self._clocks.begin(started_at, readings)
        self._key = seed.to_bytes(32, "big")
        random.seed(seed)
        numpy_random: Any = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed(seed % 2**32)

    def readings(self) -> dict[str, list[int]]:
        """Return what the cell's code has read of clocks since this was asked before."""
        return self._clocks.tell()

    def _urandom(self, size: int) -> bytes:
        if size < 0:
            raise ValueError("negative argument not allowed")
        lane = self._lanes.current() or self._main
        key = self._key if lane is self._main else self._key + lane.name.encode()
        drawn = b""
        while len(drawn) < size:
            lane.drawn += 1
            drawn += hashlib.sha512(key + lane.drawn.to_bytes(8, "big")).digest()
        return drawn[:size]
