"""What a run tells who looks on, and who comes late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rlm_graph.budget import Usage
from rlm_graph.errors import Hint, InputError
from rlm_graph.runs.feed import Feed
from rlm_graph.runs.job import Job
from rlm_graph.runs.live import Watch
from rlm_graph.runs.notices import Begun, Ended, Step, Token
from rlm_graph.testing import ScriptedModel
from tests.runs.conftest import GatedModel, Open, Serve, turns, under_way

MakeJob = Callable[..., Job]


def put(feed: Feed, count: int) -> None:
    for number in range(count):
        feed.put(Token(call_id="c", text=str(number)))


async def test_a_run_tells_its_life_in_order_numbered_from_one(serve: Serve, job: MakeJob) -> None:
    service = await serve("ask", "end")
    observed: list[Any] = []

    live = await service.start(job(), id="mine", watch=Watch(observer=observed.append))
    followed = [notice async for notice in live.follow()]
    outcome = await live.outcome()

    assert followed == observed
    assert [notice.number for notice in followed] == list(range(1, len(followed) + 1))
    bodies = [notice.body for notice in followed]
    assert bodies[0] == Begun(run="mine", usage=Usage())
    assert bodies[-1] == Ended(status="done", usage=outcome.usage)
    kinds = [body.kind for body in bodies]
    assert {"turn", "cell", "call", "subcall", "output", "budget", "answer", "step"} <= set(kinds)
    assert "token" not in kinds
    steps = [body for body in bodies if isinstance(body, Step) and not body.inner]
    assert [turn.number for step in steps for turn in step.turns] == [1, 2]
    assert sum((step.spent or Usage() for step in steps), Usage()) == outcome.usage


async def test_tokens_are_told_where_they_are_asked_for_and_are_what_the_model_writes(
    serve: Serve, job: MakeJob
) -> None:
    service = await serve("look", "end")

    live = await service.start(job(), watch=Watch(tokens=True))
    told = [notice.body async for notice in live.follow()]

    tokens = [body.text for body in told if isinstance(body, Token)]
    assert len(tokens) > 1
    assert "".join(tokens) == "```repl\nlook\n``````repl\nend\n```"


async def test_who_comes_late_reads_what_was_told_and_then_what_is(opened: Open, job: MakeJob) -> None:
    model = GatedModel(turns("look", "end"))
    async with opened(model) as service:
        async with under_way(service, model, job(), id="mine") as live:
            early = asyncio.create_task(_all(service.follow("mine")))
            late = service.follow("mine", since=2)
            second = await anext(late)
        rest = [second, *[notice async for notice in late]]
        await live.outcome()
        again = await _all(service.follow("mine", since=3))

    assert rest == (await early)[1:]
    assert again == rest[1:]
    assert rest[-1].body.kind == "ended"


async def test_a_run_that_is_taken_up_again_goes_on_with_its_numbers(serve: Serve, job: MakeJob) -> None:
    service = await serve("end")
    first = await service.start(job(), id="mine")
    told = await _all(first.follow())
    await first.outcome()

    second = await service.ask("mine", "and?")
    more = await _all(service.follow("mine", since=len(told) + 1))
    await second.outcome()

    assert (more[0].number, more[0].body.kind) == (len(told) + 1, "begun")
    assert more[0].body.usage.turns == 1


async def test_why_a_run_failed_is_told(serve: Serve, job: MakeJob) -> None:
    service = await serve(model=ScriptedModel([ValueError("a mistake of ours")]))

    live = await service.start(job())
    *_, last = await _all(live.follow())

    assert last.body.status == "failed"
    assert "a mistake of ours" in last.body.error
    with pytest.raises(ValueError, match="a mistake of ours"):
        await live.outcome()


async def test_a_run_that_nobody_is_at_work_on_cannot_be_followed(opened: Open, job: MakeJob) -> None:
    model = ScriptedModel(turns("end"))
    async with opened(model) as service:
        await (await service.start(job(), id="mine")).outcome()
    async with opened(model) as service:
        with pytest.raises(InputError, match="nobody is at work on run mine: it is done") as error:
            await anext(service.follow("mine"))

    assert error.value.hint == Hint("show_run", "mine")


async def test_a_feed_keeps_the_newest_and_says_what_it_has_no_more() -> None:
    feed = Feed(max_kept=3)
    put(feed, 5)
    feed.close()

    assert [notice.number for notice in await _all(feed.follow())] == [3, 4, 5]
    assert [notice.number for notice in await _all(feed.follow(since=5))] == [5]
    assert await _all(feed.follow(since=6)) == []
    with pytest.raises(InputError, match="follow from 3"):
        await anext(feed.follow(since=2))


async def _all(notices: Any) -> list[Any]:
    return [notice async for notice in notices]
