"""What the database of runs promises: nothing is lost, and what goes wrong is said in one line."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph

from rlm_graph.budget import Usage
from rlm_graph.channels import RLMState
from rlm_graph.errors import InputError, RunNotFoundError, StorageError
from rlm_graph.state import Answer, Execution, Turn
from rlm_graph.storage.runs import Run, Runs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "runs.sqlite"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest) -> Path | str:
    """An empty database of each kind: a file that is not there yet, and one of a server."""
    found: Path | str = request.getfixturevalue("path" if request.param == "sqlite" else "postgres")
    return found


async def create(runs: Runs, **changed: Any) -> Run:
    given: dict[str, Any] = {"question": "why?", "source": "a.txt", "model": "m", "settings": {"max": 1}, **changed}
    return await runs.create(**given)


async def test_a_run_is_found_again_by_another_process(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        made = await create(runs)

    async with Runs.open(place) as runs:
        assert [run async for run in runs.each()] == [made]
        assert (made.status, made.settings, made.usage) == ("running", {"max": 1}, Usage())


async def test_the_start_of_an_id_or_of_its_part_after_the_date_is_enough(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        made = await create(runs)

        assert await runs.get(made.id) == made
        assert await runs.get(made.id[:10]) == made
        assert await runs.get(made.id[9:12]) == made


async def test_an_ambiguous_start_names_the_runs_it_could_mean(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        await create(runs, id="night-1")
        await create(runs, id="night-12")

        with pytest.raises(InputError, match="2 runs start with night: night-12, night-1"):
            await runs.get("night")
        assert (await runs.get("night-1")).id == "night-1"


async def test_an_unknown_id_names_the_ones_most_like_it(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        with pytest.raises(RunNotFoundError, match="holds none yet"):
            await runs.get("night-2")
        with pytest.raises(RunNotFoundError):
            await runs.last()
        await create(runs, id="night-1")

        with pytest.raises(RunNotFoundError, match="did you mean night-1"):
            await runs.get("night-2")


async def test_an_id_that_is_taken_or_no_name_is_refused(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        await create(runs, id="night")

        with pytest.raises(InputError, match="there is a run night already"):
            await create(runs, id="night", question="another?")
        for name in ("", "a b", "../x", "a|b", "x" * 65):
            with pytest.raises(InputError):
                await create(runs, id=name)
        assert [run.question async for run in runs.each()] == ["why?"]


async def test_the_newest_run_comes_first(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        for name in ("a", "b", "c"):
            await create(runs, id=name)

        assert [run.id async for run in runs.each()] == ["c", "b", "a"]
        assert (await runs.last()).id == "c"


async def test_how_a_run_ended_is_kept_until_it_is_taken_up_again(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        await create(runs, id="a")

        await runs.finish("a", "partial", Usage(turns=3))
        assert ((await runs.get("a")).status, (await runs.get("a")).usage.turns) == ("partial", 3)
        await runs.reopen("a", {"max": 2})
        assert ((await runs.get("a")).status, (await runs.get("a")).settings) == ("running", {"max": 2})


async def test_a_state_is_read_back_with_its_types_by_a_process_that_has_no_model(place: Path | str) -> None:
    turn = Turn(number=1, namespace="act:1", executions=(Execution(number=1, code="1", status="ok"),))
    answer = Answer(value=[1, "é"], text="é")
    builder = StateGraph(RLMState)
    builder.add_node("work", lambda _: {"turns": [turn], "answer": answer, "usage": Usage(turns=1)})
    builder.add_edge(START, "work")
    async with Runs.open(place) as runs:
        graph = builder.compile(checkpointer=runs.saver)
        given: Any = {"messages": [HumanMessage("why?")]}
        await graph.ainvoke(given, {"configurable": {"thread_id": "a"}})

    async with Runs.open(place) as runs:
        state = await runs.state("a")
        assert (state["turns"], state["answer"], state["usage"]) == ([turn], answer, Usage(turns=1))
        assert state["messages"][0].text == "why?"
        assert await runs.state("b") == {}


async def test_a_deleted_run_takes_its_checkpoints_and_those_of_its_calls_along(place: Path | str) -> None:
    builder = StateGraph(RLMState)
    builder.add_node("work", lambda _: {"usage": Usage(turns=1)})
    builder.add_edge(START, "work")
    async with Runs.open(place) as runs:
        graph = builder.compile(checkpointer=runs.saver)
        for name in ("goes", "stays"):
            await create(runs, id=name)
            given: Any = {"messages": [HumanMessage("why?")]}
            await graph.ainvoke(given, {"configurable": {"thread_id": name}})
            call: Any = {"configurable": {"thread_id": name, "checkpoint_ns": "act:1|call:2"}}
            await runs.saver.aput(call, empty_checkpoint(), {}, {})

        await runs.delete("goes")

        assert [run.id async for run in runs.each()] == ["stays"]
        threads = {kept.config["configurable"]["thread_id"] async for kept in runs.saver.alist(None)}
        assert threads == {"stays"}
        assert (await runs.state("stays"))["usage"] == Usage(turns=1)


async def test_the_files_are_the_users_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        async with Runs.open(path) as runs:
            await create(runs)
            files = list(path.parent.iterdir())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes.keys() >= {"runs.sqlite", "runs.sqlite-wal"}
    assert set(modes.values()) == {0o600}


async def open_fails(path: Path, words: str, **options: Any) -> None:
    """Check that opening or using the database is a `StorageError` that names it, in one line, and that it stays."""
    before = path.read_bytes() if path.is_file() else None

    async def use() -> None:
        async with Runs.open(path, **options) as runs:
            await create(runs)
            await runs.check()

    with pytest.raises(StorageError) as caught:
        await use()

    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "\n" not in message
    assert (path.read_bytes() if path.is_file() else None) == before


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("my notes, " * 1000)

    await open_fails(tmp_path / "notes.txt", "not a database; left as it is; name another database")


async def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE runs (mine TEXT)")
    other.close()

    await open_fails(tmp_path / "other.db", "a database of another kind")


async def test_a_database_of_a_newer_version_is_left_alone(path: Path) -> None:
    async with Runs.open(path) as runs:
        await create(runs)
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 999")
    newer.close()

    await open_fails(path, "written by a newer rlm-graph")


async def test_a_damaged_database_is_left_alone(path: Path) -> None:
    async with Runs.open(path) as runs:
        for _ in range(50):
            await create(runs, question="why? " * 100)
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)

    await open_fails(path, "the database is damaged; left as it is")


async def test_a_database_that_another_process_writes_is_said_to_be_held(path: Path) -> None:
    async with Runs.open(path):
        pass
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")

    await open_fails(path, "another process holds the database", busy_timeout_s=0.05)

    other.close()


async def test_a_folder_or_a_place_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    await open_fails(tmp_path, "a folder is no database")
    await open_fails(tmp_path / "file" / "runs.sqlite", "cannot be made")


async def test_a_full_disk_in_the_middle_of_a_run_loses_nothing_that_was_written(path: Path) -> None:
    async with Runs.open(path) as runs:
        await create(runs, id="kept")

    async def fill() -> None:
        async with Runs.open(path) as runs:
            # SQLite's own bound on the size of a file fails as a full disk does.
            await runs.saver.writer.using(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
            for _ in range(100):
                await create(runs, question="why? " * 1000)

    with pytest.raises(StorageError, match="no space is left for the database; free some, then go on"):
        await fill()

    async with Runs.open(path) as runs:
        assert "kept" in [run.id async for run in runs.each()]
        await runs.check()


async def test_runs_that_start_at_once_do_not_get_into_each_others_way(place: Path | str) -> None:
    async def start() -> str:
        async with Runs.open(place) as runs:
            return (await create(runs)).id

    ids = await asyncio.gather(*(start() for _ in range(8)))

    async with Runs.open(place) as runs:
        assert {run.id async for run in runs.each()} == set(ids)
        assert len(set(ids)) == 8


async def test_pages_lead_through_all_runs_newest_first_though_some_are_of_one_moment(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        made = [(await create(runs, id=f"r{number}")).id for number in range(7)]
        await runs._database.write(("UPDATE runs SET created = 5.0 WHERE id <> 'r6'", ()))
        await runs.finish("r2", "done", Usage())

        pages = [first := await runs.page(limit=3)]
        await create(runs, id="later")  # moves none from one page to the next
        while pages[-1].after is not None:
            pages.append(await runs.page(limit=3, after=pages[-1].after))

        assert [[run.id for run in page.runs] for page in pages] == [["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]
        assert [run.id for run in (await runs.page(status="done")).runs] == ["r2"]
        assert len(first.runs) == 3
        assert {run.id async for run in runs.each()} == {*made, "later"}
        assert await runs.count() == 8
        with pytest.raises(InputError, match="leads to no page"):
            await runs.page(after="somewhere")


async def test_what_many_runs_start_with_names_some_and_asks_for_more(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        for number in range(8):
            await create(runs, id=f"night-{number}")

        with pytest.raises(InputError, match=r"many runs start with night: .*, …; give more of the id"):
            await runs.get("night")
        for name in ("", "no such\x00name", "ñ", "*", "n_ght-1"):
            with pytest.raises(RunNotFoundError):
                await runs.get(name)
