"""What a run stays attached to, and how many runs of a process may."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rlm_graph.executors.attachment import MAX_KEPT, Attachment
from rlm_graph.state import ReplHandle

HANDLE = ReplHandle(kind="local", id="0" * 16, address="/nowhere", worker_version="v")


class QuietRepl:
    """A REPL that stays as it was left."""

    handle = HANDLE
    stays = True

    async def is_as_left(self) -> bool:
        return True


class Places:
    """An executor that counts who is attached."""

    def __init__(self) -> None:
        self.attached_now = self.attaches = 0

    @contextlib.asynccontextmanager
    async def attached(self, handle: ReplHandle | None, **options: Any) -> AsyncIterator[QuietRepl]:
        self.attached_now += 1
        self.attaches += 1
        try:
            yield QuietRepl()
        finally:
            self.attached_now -= 1


async def turn(attachment: Attachment, places: Any, tools: tuple[str, ...] = ()) -> None:
    async with attachment.attached(places, HANDLE, name="0" * 16, tools=tools):
        pass


async def test_thousands_of_runs_keep_a_bounded_number_of_repls_open() -> None:
    places, runs = Places(), [Attachment() for _ in range(3_000)]
    for _ in range(2):
        for run in runs:
            await turn(run, places)

    assert places.attached_now == MAX_KEPT
    assert places.attaches == 3_000 + (3_000 - MAX_KEPT)
    for run in runs:
        await run.aclose()
    assert places.attached_now == 0


async def test_an_act_that_failed_leaves_nothing_attached() -> None:
    places, run = Places(), Attachment()
    with pytest.raises(ValueError, match="the act's"):
        async with run.attached(places, HANDLE, name="0" * 16, tools=()):  # type: ignore[arg-type]  # a stand-in
            raise ValueError("the act's")

    assert places.attached_now == 0


async def test_other_tools_and_another_executor_are_attached_to_anew() -> None:
    places, others, run = Places(), Places(), Attachment()
    await turn(run, places)
    await turn(run, places, ("search(text)",))
    assert (places.attaches, places.attached_now) == (2, 1)

    await turn(run, others)

    assert (places.attached_now, others.attached_now) == (0, 1)
    await run.aclose()
    await run.aclose()
    assert others.attached_now == 0
