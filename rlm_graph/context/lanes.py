"""What is done beside the thread that reads a context: hashing what it has read, and bringing it to the disk.

Both leave Python's lock, so a second processor does them while the first one reads, decodes and writes.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

BESIDE_BYTES = 1 << 18
"""Bytes whose hashing takes longer than handing them to another thread does."""
WAITING = 4
"""Blocks that may wait to be hashed: so many are in memory."""


class Lane:
    """Makes calls one after another in a thread of its own, which starts with the first of them."""

    def __init__(self, depth: int) -> None:
        """At most `depth` calls are under way or wait."""
        self._depth = depth
        self._calls: deque[Future[object]] = deque()
        self._thread: ThreadPoolExecutor | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all calls so far have been made."""
        return all(call.done() for call in self._calls)

    def put(self, call: Callable[..., object], *arguments: object) -> None:
        """Have a call made, once there is room for it. Raises what an earlier one has raised."""
        while self._calls and (len(self._calls) >= self._depth or self._calls[0].done()):
            self._calls.popleft().result()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="rlm-graph-context")
        self._calls.append(self._thread.submit(call, *arguments))

    def settle(self) -> None:
        """Wait until all calls have been made. Raises what one of them has raised."""
        while self._calls:
            self._calls.popleft().result()

    def close(self) -> None:
        """End the thread, after the call that is under way."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)


class Digest:
    """The SHA-256 of what was added, in the order of adding. It can go back to one place."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._marked = self._sha256.copy()
        self._lane = Lane(WAITING)

    def add(self, data: bytes) -> None:
        """Add bytes: large blocks are hashed in another thread while the caller goes on."""
        if len(data) >= BESIDE_BYTES:
            self._lane.put(self._sha256.update, data)
        else:
            self._lane.settle()
            self._sha256.update(data)

    def mark(self) -> None:
        """Remember this place."""
        self._lane.settle()
        self._marked = self._sha256.copy()

    def rewind(self) -> None:
        """Forget what was added since the place was marked."""
        self._lane.settle()
        self._sha256 = self._marked.copy()

    def hexdigest(self) -> str:
        """Return the hash of all."""
        self._lane.settle()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """End the thread, if there is one."""
        self._lane.close()
