"""The host's side of a cell's calls: what it keeps of them is bounded, however many code makes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.host import service as services
from rlm_graph.executors.host.reports import Calls, ReportedCall
from rlm_graph.executors.host.service import ON_THE_WAY_BYTES, Service
from rlm_graph.executors.sandbox.frames import Frame


def announced(*ids: int) -> Calls:
    calls = [ReportedCall(id=id, function="f", arguments={}, nth=0) for id in ids]
    return Calls(cell=1, calls=calls)


class Wire:
    """What is sent, and what has failed."""

    def __init__(self, value: Any = "v") -> None:
        self.sent: list[int] = []
        self.failures: list[BaseException] = []
        self.asked: list[int] = []
        self._value = value
        self.service = Service(1, frozenset({"f"}), self.serve, send=self.send, failed=self.failures.append)

    async def send(self, frame: Frame) -> None:
        self.sent += [result["id"] for result in frame["results"]]

    async def serve(self, call: HostCall) -> CallResult:
        self.asked.append(call.id)
        return CallResult(value=self._value)

    async def take(self, *ids: int) -> bool:
        news = self.service.take(announced(*ids))
        await self.service.finish()
        await asyncio.sleep(0)  # what has ended is forgotten
        return news


async def test_a_call_that_was_answered_is_not_asked_again() -> None:
    wire = Wire()

    assert await wire.take(1, 2)
    assert not await wire.take(1, 2)
    await wire.service.resend()

    assert (wire.asked, wire.sent) == ([1, 2], [1, 2, 1, 2])
    assert not wire.service.busy


async def test_of_answers_only_those_are_kept_that_may_be_on_the_way() -> None:
    size = ON_THE_WAY_BYTES // 4
    wire = Wire("x" * size)

    for id in range(1, 20):
        await wire.take(id)
    wire.sent.clear()
    await wire.service.resend()

    assert 1 <= len(wire.sent) <= 4
    assert wire.sent[-1] == 19


@pytest.mark.parametrize("value", [[{}] * 1_500_000, "x" * services.MAX_VALUE], ids=["values", "bytes"])
async def test_an_answer_that_no_frame_carries_is_an_error_in_its_place(value: Any) -> None:
    answer, size = await services._fitting({"id": 1, "value": value, "error": None, "error_type": "RuntimeError"})

    assert (answer["value"], answer["error_type"]) == (None, "ValueError")
    assert size < 1_000
