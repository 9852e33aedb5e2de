"""Answers are given in the order in which they came, and nobody waits for ever for a call that does not come again."""

from __future__ import annotations

import asyncio

import pytest

from rlm_graph.calls.arrivals import Arrivals, RecordedCall
from rlm_graph.executors.base import Progress
from rlm_graph.executors.sandbox.supervisor.cell_run import call_key


class Code:
    """Code that waits for the answers to its calls, and notes in which order it was given them."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self.given: list[str] = []

    def call(self, name: str, *, requests: int = 1) -> None:
        self.arrivals.begin(name, requests)

    async def recorded(self, name: str) -> None:
        """Let what came for a call be recorded, and wait until the code is given it."""
        try:
            await self.arrivals.turn(name)
            self.given.append(name)
        finally:
            self.arrivals.end(name)


async def settled() -> None:
    """Let all that is due happen."""
    for _ in range(20):
        await asyncio.sleep(0)


def recorded(**arrivals: int) -> dict[str, RecordedCall]:
    return {name: RecordedCall(1, 1, arrival) for name, arrival in arrivals.items()}


class Told:
    """Tells a progress of its own each time it is asked."""

    def __init__(self, *, still: bool) -> None:
        self.still = still
        self.asked = 0

    async def __call__(self, *, answered: bool = False) -> Progress:
        self.asked += 1
        return Progress(seen=True, still=self.still, turns=1)


async def test_what_came_first_is_given_first_though_it_is_recorded_last() -> None:
    code = Code(Arrivals({}, None, last=0))
    code.call("a")
    code.call("b")
    numbers = [code.arrivals.number("a"), code.arrivals.number("b")]

    second = asyncio.create_task(code.recorded("b"))
    await settled()
    before = list(code.given)
    await asyncio.gather(second, code.recorded("a"))

    assert (numbers, before, code.given) == ([1, 2], [], ["a", "b"])


async def test_a_batch_holds_nobody_up_while_an_answer_of_it_is_missing() -> None:
    code = Code(Arrivals({}, None, last=0))
    code.call("batch", requests=2)
    code.call("b")
    code.arrivals.number("batch")
    code.arrivals.number("b")

    await code.recorded("b")
    code.arrivals.number("batch")
    await code.recorded("batch")

    assert code.given == ["b", "batch"]


async def test_the_last_answer_to_a_batch_that_is_recorded_in_part_is_given_before_what_came_later() -> None:
    code = Code(Arrivals({"batch": RecordedCall(2, 1, 1)}, None, last=1))
    code.call("batch", requests=2)
    code.call("b")
    code.arrivals.number("batch")
    code.arrivals.number("b")

    second = asyncio.create_task(code.recorded("b"))
    await settled()
    before = list(code.given)
    await asyncio.gather(second, code.recorded("batch"))

    assert (before, code.given) == ([], ["batch", "b"])


@pytest.mark.parametrize(
    "missing",
    [RecordedCall(2, 1, 1), RecordedCall(1, 1, 0), RecordedCall(1, 1, 3)],
    ids=["one that was not answered whole", "one whose answer was not counted", "one that was answered later"],
)
async def test_a_replay_does_not_wait_for(missing: RecordedCall) -> None:
    told = Told(still=False)
    code = Code(Arrivals({"a": missing, "b": RecordedCall(1, 1, 2)}, told, last=3))
    code.call("b")

    await code.recorded("b")

    assert (code.given, told.asked) == (["b"], 0)


async def test_a_failure_ends_the_waiting_of_those_that_wait_and_leaves_the_others() -> None:
    code = Code(Arrivals({}, None, last=0))
    for name in ("first", "second", "under way"):
        code.call(name)
    code.arrivals.number("first")
    code.arrivals.number("second")
    waiting = asyncio.create_task(code.recorded("second"))
    await settled()

    code.arrivals.fail(LookupError("the act ends"))

    with pytest.raises(LookupError):
        await waiting
    with pytest.raises(LookupError):
        await code.recorded("first")
    assert code.given == []


async def test_a_replay_waits_for_the_calls_that_were_answered_before() -> None:
    told = Told(still=False)
    code = Code(Arrivals(recorded(a=1, b=2), told, last=2))
    code.call("b")

    second = asyncio.create_task(code.recorded("b"))
    await settled()
    before = list(code.given)
    code.call("a")
    await asyncio.gather(second, code.recorded("a"))
    code.call("c")
    third = code.arrivals.number("c")
    await code.recorded("c")

    assert (before, code.given, third) == ([], ["a", "b", "c"], 3)


async def test_what_the_code_has_an_answer_to_already_is_not_waited_for() -> None:
    code = Code(Arrivals(recorded(b=2), Told(still=False), last=7))
    code.call("b")

    await code.recorded("b")
    code.call("c")

    assert (code.given, code.arrivals.number("c")) == (["b"], 8)


async def test_code_that_does_nothing_more_gets_what_there_is() -> None:
    told = Told(still=True)
    code = Code(Arrivals(recorded(a=1, b=2), told, last=2))
    code.call("b")

    await code.recorded("b")

    assert code.given == ["b"]
    assert told.asked > 1


async def test_an_executor_that_cannot_tell_is_not_waited_for() -> None:
    code = Code(Arrivals(recorded(a=1, b=2), None, last=2))
    code.call("b")

    await code.recorded("b")

    assert code.given == ["b"]


async def test_answers_without_a_number_are_given_at_once() -> None:
    code = Code(Arrivals({}, None, last=0))
    code.call("old")
    code.call("partly", requests=3)
    code.arrivals.number("partly")  # two were recorded by a version that did not count

    await asyncio.gather(code.recorded("partly"), code.recorded("old"))

    assert sorted(code.given) == ["old", "partly"]


async def test_after_a_failure_nothing_more_is_given() -> None:
    code = Code(Arrivals(recorded(a=1, b=2), Told(still=False), last=2))
    code.call("b")
    waiting = asyncio.create_task(code.recorded("b"))
    await settled()

    code.arrivals.fail(LookupError("the act ends"))
    code.call("c")
    code.arrivals.number("c")

    for held in (waiting, code.recorded("c")):
        with pytest.raises(LookupError, match="the act ends"):
            await held
    assert code.given == []


async def test_the_sandbox_names_calls_as_their_record_does() -> None:
    from rlm_graph.calls.keys import key
    from rlm_graph.executors.base import HostCall

    call = HostCall(id=3, function="search", arguments={"query": "\u00e9\ud800", "limit": 1.5, "in": [True]}, nth=2)

    assert key(7, call) == call_key(7, call.model_dump(mode="python"))
