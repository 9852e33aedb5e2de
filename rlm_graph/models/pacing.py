"""The pause that a provider has asked for, kept by everyone who asks the same model."""

from __future__ import annotations

import asyncio
import os
import threading
import time

_lock = threading.Lock()
_until: dict[str, float] = {}


def seconds_to_wait(destination: str) -> float:
    """Return how long no request should go to `destination`."""
    with _lock:
        return max(0.0, _until.get(destination, 0.0) - time.monotonic())


def hold_back(destination: str, pause_s: float) -> None:
    """Let no request go to `destination` for so many seconds.

    A retry policy knows its own intervals only, and a batch has other requests that would run into the same limit.
    """
    with _lock:
        _until[destination] = max(_until.get(destination, 0.0), time.monotonic() + pause_s)


async def turn(destination: str) -> None:
    """Wait until requests may go to `destination`."""
    if (pause := seconds_to_wait(destination)) > 0:
        await asyncio.sleep(pause)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that is not here may have held the other


os.register_at_fork(after_in_child=_after_fork)
