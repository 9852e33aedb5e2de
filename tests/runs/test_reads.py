"""How often the database is opened and read: once where once will do."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from rlm_graph.runs.job import Job
from rlm_graph.runs.service import RunService
from rlm_graph.testing import ScriptedModel
from tests.runs.conftest import Open, turns

MakeJob = Callable[..., Job]

_opened: list[str] = []
_counting = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _counting and event == "sqlite3.connect":
        _opened.append(str(arguments[0]))


sys.addaudithook(_audit)  # cannot be taken away again


@contextmanager
def connections() -> Iterator[list[str]]:
    """The databases that this process opens within the block."""
    global _counting
    _opened.clear()
    _counting = True
    try:
        yield _opened
    finally:
        _counting = False


@asynccontextmanager
async def latest_reads(service: RunService) -> AsyncIterator[list[str]]:
    """The reads of a run's last checkpoint that the service's connection makes within the block."""
    reads: list[str] = []
    writer = service._runs.saver.writer  # type: ignore[attr-defined]  # of the saver for SQLite, which reads there too

    def trace(statement: str) -> None:
        if "FROM checkpoints" in statement and "LIMIT 1" in statement:
            reads.append(statement)

    await writer.using(lambda connection: connection.set_trace_callback(trace))
    try:
        yield reads
    finally:
        await writer.using(lambda connection: connection.set_trace_callback(None))


async def test_to_take_up_a_run_opens_the_database_once(opened: Open, job: MakeJob) -> None:
    model = ScriptedModel(turns("look", "end"))
    async with opened(model) as service:
        await (await service.start(job(approve="code"), id="mine")).outcome()

    with connections() as made:
        async with opened(model) as service:
            await (await service.resume("mine")).outcome()

    assert [Path(each).name for each in made] == ["runs.sqlite"] * 2  # one connection reads, one writes


async def test_a_run_with_nothing_left_to_do_is_read_once(opened: Open, job: MakeJob) -> None:
    async with opened(ScriptedModel(turns("end"))) as service:
        await (await service.start(job(), id="done")).outcome()
        await (await service.start(job(approve="code"), id="waits")).outcome()

        for name in ("done", "waits"):
            async with latest_reads(service) as reads:
                await (await service.resume(name)).outcome()
            assert len(reads) == 1


async def test_a_run_that_goes_on_is_read_once_before_its_work_and_once_after(opened: Open, job: MakeJob) -> None:
    async with opened(ScriptedModel(turns("end"))) as service:
        async with latest_reads(service) as started:
            await (await service.start(job(), id="mine")).outcome()
        async with latest_reads(service) as asked:
            await (await service.ask("mine", "and?")).outcome()

    # One more is LangGraph's own, where it takes the thread up.
    assert (len(started), len(asked)) == (1 + 1, 1 + 1 + 1)
