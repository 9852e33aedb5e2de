"""Runs a page at a time, and what one holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rlm_graph.errors import InputError
from rlm_graph.runs.job import Job
from tests.runs.conftest import Serve

MakeJob = Callable[..., Job]

everywhere = pytest.mark.parametrize("place", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])


@everywhere
async def test_pages_hold_every_run_once_the_newest_first_even_if_one_is_deleted_between(
    serve: Serve, job: MakeJob, place: str
) -> None:
    service = await serve("end")
    for number in range(5):
        await (await service.start(job(), id=f"run-{number}")).outcome()

    first = await service.list(limit=2)
    await service.delete("run-3")  # the last one on the page
    second = await service.list(limit=2, after=first.after)
    third = await service.list(limit=2, after=second.after)

    assert [[run.id for run in page.runs] for page in (first, second, third)] == [
        ["run-4", "run-3"], ["run-2", "run-1"], ["run-0"],
    ]  # fmt: skip
    assert third.after is None
    assert len((await service.list(limit=None)).runs) == 4


@everywhere
async def test_runs_are_found_by_status_model_and_words_of_the_question(serve: Serve, job: MakeJob, place: str) -> None:
    service = await serve("end")
    await (await service.start(job("How deep is the Well?"), id="deep")).outcome()
    await (await service.start(job("how far?", approve="code"), id="far")).outcome()

    async def found(**wanted: str) -> list[str]:
        return [run.id for run in (await service.list(**wanted)).runs]  # type: ignore[arg-type]

    assert await found(status="waiting") == ["far"]
    assert await found(search="the well") == ["deep"]
    assert await found(model="scripted") == ["far", "deep"]
    assert await found(model="another") == []
    assert await found(search="how", status="done") == ["deep"]


async def test_a_page_that_cannot_be_is_refused(serve: Serve) -> None:
    service = await serve("end")

    with pytest.raises(InputError, match="leads to no page"):
        await service.list(after="anywhere")
    with pytest.raises(InputError, match="one at least"):
        await service.list(limit=0)


async def test_a_record_has_the_turns_the_answer_and_what_waits(serve: Serve, job: MakeJob) -> None:
    service = await serve("look", "end")
    await (await service.start(job(), id="done")).outcome()
    await (await service.start(job(approve="code"), id="waits")).outcome()

    done, waits = await service.record("done"), await service.record("waits")

    assert ([turn.number for turn in done.turns], done.answer.text, done.waiting) == ([1, 2], "the end", ())
    assert ([each.request.cells for each in waits.waiting], waits.answer) == ([("look",)], None)
    assert done.usage.turns == 2
    assert (await service.get()).id == "waits"
