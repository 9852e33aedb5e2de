"""The notices of one run, kept in memory for those who follow it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from rlm_graph.errors import InputError
from rlm_graph.runs.notices import Body, Notice

MAX_KEPT = 20_000
"""Notices of a run that are kept; the oldest go first."""


class Feed:
    """Numbers what a run tells, and gives it to any number of followers. Belongs to one event loop.

    A run that is taken up again in the same service goes on with its numbers.
    """

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._kept: deque[Notice] = deque(maxlen=max_kept)
        self._last = 0
        self._open = True
        self._news = asyncio.Event()

    def put(self, body: Body) -> Notice:
        """Add what the run told, under the next number."""
        self._last += 1
        notice = Notice(self._last, body)
        self._kept.append(notice)
        self._wake()
        return notice

    def open(self) -> None:
        """Let followers wait for more: the run is at work again."""
        self._open = True

    def close(self) -> None:
        """Let followers end once they have read everything."""
        self._open = False
        self._wake()

    async def follow(self, since: int | None = None) -> AsyncIterator[Notice]:
        """Yield the notices from number `since` on, by default from the first that is kept, until the feed is closed.

        Raises `InputError` if what was told under the next number is not kept any more.
        """
        first = self._first
        number = first if since is None else max(since, 1)
        while True:
            news = self._news
            while number <= self._last:
                first = self._first
                if number < first:
                    raise InputError(f"what was told before number {first} is not kept any more; follow from {first}")
                yield self._kept[number - first]
                number += 1
            if not self._open:
                return
            await news.wait()

    @property
    def _first(self) -> int:
        return self._last - len(self._kept) + 1

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
