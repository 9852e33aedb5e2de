"""What the store of snapshots promises: one is found by the same past alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import Executor, PastCell, Repl
from rlm_graph.executors.conformance import Notebook
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.settings import SnapshotSettings
from rlm_graph.state import ContextRef, Turn

CONTEXT = ContextRef(sha256="0" * 64, kind="str", chars=1, bytes=1, parts=1, longest=1)


@pytest.fixture
def executor(tmp_path: Path) -> LocalExecutor:
    return LocalExecutor(folder=tmp_path / "repls")


@pytest.fixture
async def notebook(executor: Executor) -> AsyncIterator[Notebook]:
    async with executor.attached(None) as repl:
        yield Notebook(repl)
    await executor.close(repl.handle)


@pytest.fixture
async def fresh(executor: Executor) -> AsyncIterator[Repl]:
    async with executor.attached(None) as repl:
        yield repl
    await executor.close(repl.handle)


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "snapshots", SnapshotSettings(after_s=0))


async def give(contexts: Sequence[ContextRef]) -> None:
    """Give a REPL none: the cells here do not look at any."""


async def turns_of(notebook: Notebook, *cells: str) -> list[Turn]:
    executions = [await notebook.run(cell) for cell in cells]
    return [
        Turn(number=number, namespace=f"act:{number}", executions=(execution,))
        for number, execution in enumerate(executions, 1)
    ]


CHANGES: dict[str, Any] = {
    "code": {"code": "x = 2"},
    "outcome": {"digest": "another"},
    "start": {"started_at": 5.0},
    "status": {"status": "error"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_snapshot_of_another_past_is_not_used(
    store: SnapshotStore, notebook: Notebook, fresh: Repl, change: dict[str, Any]
) -> None:
    (turn,) = await turns_of(notebook, "x = 1")
    await store.take(notebook.repl, [turn], [])
    other = turn.model_copy(update={"executions": (turn.executions[0].model_copy(update=change),)})

    assert await store.restore(fresh, [other], [], give) == 0
    assert await store.restore(fresh, [turn.model_copy(update={"namespace": "act:9"})], [], give) == 0
    assert await store.restore(fresh, [turn.model_copy(update={"contexts": 1})], [CONTEXT], give) == 0
    assert fresh.cells_done == 0
    assert await store.restore(fresh, [turn], [], give) == 1
    assert (await Notebook(fresh).run("x")).value == "1"


async def test_a_run_that_went_back_comes_back_to_where_it_went(
    store: SnapshotStore, notebook: Notebook, fresh: Repl
) -> None:
    turns = await turns_of(notebook, "x = 1")
    await store.take(notebook.repl, turns, [])
    later = [*turns, *(await turns_of(notebook, "x = 2"))]
    await store.take(notebook.repl, later, [])

    assert await store.restore(fresh, turns, [], give) == 1
    assert (await Notebook(fresh).run("x")).value == "1"


async def test_the_latest_two_are_kept_and_forgotten_with_their_turns(
    store: SnapshotStore, notebook: Notebook, tmp_path: Path
) -> None:
    turns = []
    for number in range(1, 5):
        execution = await notebook.run("x = 1")
        turns.append(Turn(number=number, namespace=f"act:{number}", executions=(execution,)))
        await store.take(notebook.repl, turns, [])
    kept = list((tmp_path / "snapshots").iterdir())

    store.forget(turns[:2])
    assert len(kept) == len(list((tmp_path / "snapshots").iterdir())) == 2
    store.forget(turns)
    assert list((tmp_path / "snapshots").iterdir()) == []


async def test_a_store_that_cannot_be_written_costs_no_run(tmp_path: Path, notebook: Notebook) -> None:
    (tmp_path / "file").write_text("")
    turns = await turns_of(notebook, "x = 1")

    await SnapshotStore(tmp_path / "file" / "snapshots", SnapshotSettings(after_s=0)).take(notebook.repl, turns, [])

    assert (await notebook.run("x")).value == "1"


class Broken:
    """A REPL whose sandbox is lost while it takes a snapshot in."""

    def __init__(self, repl: Repl) -> None:
        self.handle = repl.handle

    async def restore(self, snapshot: bytes, past: Sequence[PastCell]) -> bool:
        raise ExecutorError("lost")


async def test_a_snapshot_that_ends_its_sandbox_is_not_tried_again(
    store: SnapshotStore, notebook: Notebook, fresh: Repl
) -> None:
    turns = await turns_of(notebook, "x = 1")
    await store.take(notebook.repl, turns, [])
    broken: Any = Broken(fresh)

    with pytest.raises(ExecutorError, match="lost"):
        await store.restore(broken, turns, [], give)

    assert await store.restore(fresh, turns, [], give) == 0


async def test_what_a_fork_keeps_stays_when_its_source_has_ended(
    store: SnapshotStore, notebook: Notebook, fresh: Repl
) -> None:
    shared, own = await turns_of(notebook, "x = 1", "x = 2")
    await store.take(notebook.repl, [shared, own], [])

    store.forget([shared])  # all acts of the source

    assert await store.restore(fresh, [shared, own], [], give) == 2
    assert (await Notebook(fresh).run("x")).value == "2"
