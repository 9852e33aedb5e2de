"""The life of a run without any door: begun, taken up, asked, forked, decided on, stopped, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.base import id as ids

from rlm_graph.approval import Decision
from rlm_graph.budget import Budget
from rlm_graph.errors import Hint, InputError, ModelError, RLMError, RunHeldError, RunNotFoundError, SetupError
from rlm_graph.runs.decisions import Verdict
from rlm_graph.runs.job import Job
from rlm_graph.runs.live import Outcome, Watch
from rlm_graph.runs.service import RunService
from rlm_graph.runs.standing import Refused
from rlm_graph.settings import Settings
from rlm_graph.testing import ScriptedModel
from tests.runs.conftest import GatedModel, Open, Serve, code, turns, under_way
from tests.storage.test_locks import another_process

MakeJob = Callable[..., Job]

everywhere = pytest.mark.parametrize("place", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])


async def begun(service: RunService, job: Job, **options: Any) -> Outcome:
    return await (await service.start(job, **options)).outcome()


@everywhere
async def test_a_run_is_started_answers_and_is_booked(serve: Serve, job: MakeJob, place: str) -> None:
    service = await serve("look", "end")

    outcome = await begun(service, job("what for?"), source="a.txt", id="mine")

    assert (outcome.answer.text, outcome.run.status, outcome.usage.turns) == ("the end", "done", 2)
    booked = await service.get("mine")
    assert (booked.question, booked.source, booked.status) == ("what for?", "a.txt", "done")
    assert booked.usage == outcome.usage == outcome.run.usage


async def test_what_cannot_start_leaves_no_run_behind(serve: Serve, job: MakeJob, settings: Settings) -> None:
    service = await serve("end")
    await begun(service, job(), id="mine")

    with pytest.raises(SetupError) as no_model:
        await service.start(job(settings=settings.model_copy(update={"model": None})))
    with pytest.raises(SetupError):
        await service.start(job(schema="nowhere:Form"))
    with pytest.raises(InputError):
        await service.start(job(), id="mine")

    assert no_model.value.hint == Hint("set_model")
    assert [run.id for run in (await service.list()).runs] == ["mine"]


@everywhere
async def test_a_run_that_failed_goes_on_where_it_stood_and_asks_nothing_again(
    opened: Open, job: MakeJob, place: str
) -> None:
    broken = ScriptedModel([code("ask"), "answer", ModelError("the provider is away")])
    async with opened(broken) as service:
        live = await service.start(job(), id="mine")
        with pytest.raises(ModelError):
            await live.outcome()
        failed = await service.get("mine")
    whole = ScriptedModel(turns("never", "end"))
    async with opened(whole) as service:
        outcome = await (await service.resume("mine")).outcome()

    assert (failed.status, failed.usage.turns) == ("failed", 1)
    assert (outcome.answer.text, outcome.usage.turns, len(whole.calls)) == ("the end", 2, 1)


async def test_a_run_that_is_done_is_idle_and_gives_its_answer_again(serve: Serve, job: MakeJob) -> None:
    model = ScriptedModel(turns("end"))
    service = await serve(model=model)
    first = await begun(service, job(), id="mine")

    again = await service.resume("mine")

    assert again.idle
    assert (await again.outcome()).answer == first.answer
    assert len(model.calls) == 1


async def test_a_run_that_met_a_ceiling_goes_on_under_a_larger_one(serve: Serve, job: MakeJob, settings: Any) -> None:
    model = ScriptedModel([code("look"), "FINAL(so far)", code("end")])
    service = await serve(model=model)
    small = settings.model_copy(update={"budget": Budget(max_turns=1)})

    partial = await begun(service, job(settings=small), id="mine")
    same = await (await service.resume("mine")).outcome()
    whole = await (await service.resume("mine", {"budget": {"max_turns": 5}})).outcome()

    assert [each.run.status for each in (partial, same, whole)] == ["partial", "partial", "done"]
    assert (partial.answer.ceiling, whole.answer.text) == ("max_turns", "the end")


async def test_a_run_that_has_answered_can_be_asked_another_question(serve: Serve, job: MakeJob) -> None:
    model = ScriptedModel([code("end"), code("other end")])
    service = await serve(model=model)
    await begun(service, job(), id="mine")

    outcome = await (await service.ask("mine", "and then?")).outcome()

    assert (outcome.answer.text, outcome.usage.turns) == ("another end", 1)
    assert any("and then?" in message.text for message in model.calls[-1])


async def test_a_run_of_a_host_whose_clock_was_ahead_is_asked_another_question(
    serve: Serve, job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = 5 * 3600 * 10_000_000  # in the steps of 100 ns that LangGraph's ids count
    service = await serve("end")
    monkeypatch.setattr(ids, "_last_v6_timestamp", ids.uuid6().time + hours)
    await (await service.start(job(), id="mine")).outcome()
    monkeypatch.setattr(ids, "_last_v6_timestamp", None)  # another process, whose clock is right

    asked = await (await service.ask("mine", "and?")).outcome()
    record = await service.record("mine")

    assert asked.run.status == record.run.status == "done"
    assert record.usage == asked.usage
    assert len([message for message in (await _messages(service)) if message.type == "human"]) == 2


async def _messages(service: Any) -> Any:
    return (await service._runs.state("mine"))["messages"]


@everywhere
async def test_a_fork_begins_after_a_turn_and_the_other_run_stays_as_it_was(
    serve: Serve, job: MakeJob, place: str
) -> None:
    model = ScriptedModel([code("ask"), "an answer", code("look"), code("end"), code("other end")])
    service = await serve(model=model)
    await begun(service, job(), id="mine")
    before = await service.record("mine")

    live = await service.fork("mine", at=1, id="branch")
    outcome = await live.outcome()

    forked = live.run.settings["forked"]
    assert (forked["run"], forked["turn"], forked["usage"]["turns"]) == ("mine", 1, 1)
    assert (outcome.answer.text, outcome.usage.turns) == ("another end", 1)  # its own alone
    assert await service.record("mine") == before


async def test_what_does_not_fit_the_run_is_refused_with_a_hint_and_leaves_it_as_it_was(
    serve: Serve, job: MakeJob
) -> None:
    service = await serve("end")
    await begun(service, job(), id="done")
    await begun(service, job(approve="code"), id="waits")
    before = [await service.record(name) for name in ("done", "waits")]

    for refused, hint in (
        (service.ask("waits", "and?"), Hint("resume", "waits")),
        (service.approve("done", Verdict()), Hint("show_run", "done")),
        (service.approve("waits", Verdict(number=2)), None),
        (service.approve("waits", Verdict(id="nothing")), None),
    ):
        with pytest.raises(Refused) as error:
            await refused
        assert error.value.hint == hint
    for wrong, hint in (
        (service.fork("done", at=9), Hint("show_run", "done")),
        (service.fork("done", id="waits"), Hint("choose_name", "waits")),
        (service.cancel("done"), Hint("show_run", "done")),
    ):
        with pytest.raises(InputError) as error:
            await wrong
        assert error.value.hint == hint
    with pytest.raises(RunNotFoundError):
        await service.resume("nothing")

    assert [await service.record(name) for name in ("done", "waits")] == before
    assert len((await service.list()).runs) == 2


@everywhere
async def test_of_several_requests_that_wait_each_can_be_decided_on_by_number_and_by_id(
    opened: Open, job: MakeJob, place: str
) -> None:
    asked: list[str] = []

    def model() -> ScriptedModel:
        script = turns("ask both", "end")
        return ScriptedModel(lambda messages: asked.append(messages[-1].text) or script(messages))

    async with opened(model()) as service:
        waiting = await begun(service, job(approve="code"), id="mine")
        assert [each.request.cells for each in waiting.waiting] == [("ask both",)]
        edited = Verdict(decision=Decision(edit=("look",)))
        ended = await (await service.approve("mine", edited)).outcome()
        rejected = Verdict(decision=Decision(approve=False, reason="too early"), id=ended.waiting[0].id)
        again = await (await service.approve("mine", rejected)).outcome()
    async with opened(model()) as service:  # the process may end in between
        shown = await service.resume("mine")
        done = await (await service.approve("mine", Verdict(number=1))).outcome()

    assert [each.run.status for each in (waiting, ended, again, done)] == ["waiting", "waiting", "waiting", "done"]
    assert any("too early" in text for text in asked)
    assert shown.idle
    assert (await shown.outcome()).waiting == again.waiting
    assert done.answer.text == "the end"


async def test_what_a_verdict_leaves_undecided_waits_on(serve: Serve, job: MakeJob) -> None:
    from rlm_graph.testing.cells import Call

    asked: list[str] = []
    script = turns("ask many", "end")

    def model(messages: Any) -> str:
        asked.append(messages[-1].text)
        return script(messages)

    service = await serve(model=ScriptedModel(model))
    cells = {"ask many": [Call("llm_query_batched", {"prompts": ["first", "second"], "return_exceptions": True})]}
    service._build.keywords["executor"].script.update(cells)
    first = await begun(service, job(approve="subcalls"), id="mine")
    number = 1 + [each.request.preview for each in first.waiting].index("first")

    one = await (await service.approve("mine", Verdict(decision=Decision(approve=False), number=number))).outcome()
    done = await (await service.approve("mine", Verdict())).outcome()

    assert len(first.waiting) == 2
    assert [each.request.preview for each in one.waiting] == ["second"]
    assert done.run.status == "done"
    assert "second" in asked
    assert "first" not in asked


@everywhere
async def test_a_run_that_is_drained_finishes_its_step_and_goes_on_later(
    opened: Open, job: MakeJob, place: str
) -> None:
    model = GatedModel(turns("look", "end"))
    async with opened(model) as service:
        async with under_way(service, model, job(), id="mine"):
            live = await service.cancel("mine")
        outcome = await live.outcome()
        resumed = await (await service.resume("mine")).outcome()

    assert (outcome.run.status, outcome.answer, outcome.usage.turns) == ("interrupted", None, 1)
    assert (resumed.answer.text, len(model.calls)) == ("the end", 2)  # nothing was asked twice


async def test_a_run_that_is_cancelled_now_ends_in_its_step_and_goes_on_later(opened: Open, job: MakeJob) -> None:
    model = GatedModel(turns("look", "end"))
    async with opened(model) as service:
        async with under_way(service, model, job(), id="mine"):
            outcome = await (await service.cancel("mine", now=True)).outcome()
        resumed = await (await service.resume("mine")).outcome()

    assert (outcome.run.status, outcome.answer) == ("interrupted", None)
    assert resumed.answer.text == "the end"


@everywhere
@pytest.mark.parametrize("moment", ["turn", "budget", "cell", "output", "answer"])
async def test_a_run_that_is_stopped_at_any_moment_goes_on_and_pays_for_nothing_twice(
    opened: Open, job: MakeJob, place: str, moment: str
) -> None:
    model = ScriptedModel(turns("ask", "end"))
    async with opened(model) as service:

        def observer(notice: Any) -> None:
            if notice.body.kind == moment:
                service._works.get("mine").stop()

        stopped = await begun(service, job(), id="mine", watch=Watch(observer=observer))
        resumed = await (await service.resume("mine")).outcome()

    assert stopped.run.status == "interrupted"
    assert resumed.answer.text == "the end"
    assert len(model.calls) == 3  # two turns and one sub-call


@everywhere
async def test_a_run_that_another_process_works_on_is_left_to_it(
    serve: Serve, job: MakeJob, settings: Settings, place: str
) -> None:
    service = await serve("end")
    await begun(service, job(), id="mine")
    run = await service.get("mine")
    await service._runs.reopen("mine", run.settings)

    with another_process(str(settings.db), "mine") as process:
        for attempt in (
            lambda: service.resume("mine"),
            lambda: service.cancel("mine"),
            lambda: service.delete("mine"),
            lambda: service.fork("mine"),
            lambda: anext(service.follow("mine", since=100)),
        ):
            service._works.forget("mine")
            with pytest.raises(RunHeldError, match=f"process {process.pid}"):
                await attempt()

    assert (await service.get("mine")).status == "interrupted"


async def test_a_run_that_is_held_is_waited_for_where_the_caller_says_so(opened: Open, job: MakeJob) -> None:
    model, told = GatedModel(turns("end")), asyncio.Queue[RunHeldError]()
    async with opened(model) as service:
        async with under_way(service, model, job(), id="mine"):
            with pytest.raises(RunHeldError):
                await service.resume("mine")
            waits = asyncio.create_task(service.resume("mine", watch=Watch(waiting=told.put_nowait)))
            held = await told.get()
        outcome = await (await waits).outcome()

    assert held.run == "mine"
    assert outcome.answer.text == "the end"


@everywhere
async def test_a_run_that_is_deleted_is_gone_and_one_at_work_is_not_deleted(
    opened: Open, job: MakeJob, place: str
) -> None:
    model = GatedModel(turns("end"))
    async with opened(model) as service:
        async with under_way(service, model, job(), id="mine") as live:
            with pytest.raises(RunHeldError):
                await service.delete("mine")
        await live.outcome()

        left = await service.delete("mine")

        assert left == ()
        assert [kept async for kept in service._runs.saver.alist(None)] == []
        with pytest.raises(RunNotFoundError):
            await service.get("mine")


@everywhere
async def test_two_runs_at_once_in_one_service_do_not_disturb_each_other(
    opened: Open, job: MakeJob, place: str
) -> None:
    model = GatedModel(turns("ask", "look", "end"))
    async with opened(model) as service:
        lives = [await service.start(job(f"question {number}"), id=f"run-{number}") for number in range(2)]
        await model.reached()
        under_way = await service.list(status="running")
        model.open()
        outcomes = await asyncio.gather(*(live.outcome() for live in lives))
        records = [await service.record(live.run.id) for live in lives]

    assert {run.id for run in under_way.runs} == {"run-0", "run-1"}
    assert [outcome.answer.text for outcome in outcomes] == ["the end", "the end"]
    assert [len(record.turns) for record in records] == [3, 3]
    assert [record.run.question for record in records] == ["question 0", "question 1"]


async def test_who_gives_up_waiting_does_not_stop_the_run(opened: Open, job: MakeJob) -> None:
    model = GatedModel(turns("end"))
    async with opened(model) as service:
        async with under_way(service, model, job(), id="mine") as live:
            waiter = asyncio.create_task(live.outcome())
            await asyncio.sleep(0)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
        outcome = await live.outcome()

    assert outcome.answer.text == "the end"


async def test_what_is_under_way_when_the_service_ends_is_booked_as_interrupted(opened: Open, job: MakeJob) -> None:
    model = GatedModel(turns("end"))
    async with opened(model) as service:
        live = await service.start(job(), id="mine")
        await model.reached()
    outcome = await live.outcome()
    async with opened(model) as service:
        booked = await service.get("mine")

    assert (outcome.run.status, booked.status) == ("interrupted", "interrupted")


async def test_a_service_is_drained_before_it_ends(opened: Open, job: MakeJob) -> None:
    model = GatedModel(turns("look", "end"))
    async with opened(model) as service:
        live = await service.start(job(), id="mine")
        await model.reached()
        draining = asyncio.create_task(service.drain())
        await asyncio.sleep(0)
        model.open()
        await draining
        booked = await service.get("mine")

    assert (booked.status, booked.usage.turns) == ("interrupted", 1)
    assert (await live.outcome()).run.status == "interrupted"


async def test_an_observer_that_fails_ends_the_run_after_its_step_and_it_can_go_on(serve: Serve, job: MakeJob) -> None:
    service = await serve("end")

    def observer(notice: Any) -> None:
        if notice.body.kind == "turn":
            raise RLMError("the screen is gone")

    live = await service.start(job(), id="mine", watch=Watch(observer=observer))
    with pytest.raises(RLMError, match="screen"):
        await live.outcome()

    assert (await service.get("mine")).status == "failed"
    assert (await (await service.resume("mine")).outcome()).answer.text == "the end"
