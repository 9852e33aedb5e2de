"""When a snapshot is taken: as soon as the cells since the last one would take long to run again, and no sooner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.recovery.snapshots import CALL_S, SnapshotStore
from rlm_graph.settings import SnapshotSettings
from rlm_graph.state import ContextRef, Execution, ReplHandle, Turn

CONTEXTS = [ContextRef(sha256=f"{n}" * 64, kind="str", chars=1, bytes=1, parts=1, longest=1) for n in range(3)]


class Stub:
    """What the store asks of a REPL: it gives a snapshot of its last cell, and takes one in."""

    def __init__(self, turns: Sequence[Turn] = (), *, name: str = "r1") -> None:
        self.handle = ReplHandle(kind="local", id=name, address="", worker_version="1")
        self.cells_done = next((cell.number for turn in reversed(turns) for cell in reversed(turn.executions)), 0)
        self.took: list[bytes] = []
        self.past: list[Any] = []

    async def snapshot(self, max_bytes: int) -> bytes | None:
        return f"after {self.cells_done}".encode()

    async def restore(self, snapshot: bytes, past: Sequence[Any]) -> bool:
        self.took.append(snapshot)
        self.past = [(cell.number, cell.branch) for cell in past]
        return True


def turns_of(*seconds: float, calls: int = 0, status: Any = "ok", contexts: int = 0) -> list[Turn]:
    cells = [
        Execution(number=n, code=f"x = {n}", status=status, digest=f"d{n}", wall_s=wall_s, calls=calls)
        for n, wall_s in enumerate(seconds, 1)
    ]
    return [
        Turn(number=cell.number, namespace="act:1", executions=(cell,), contexts=min(contexts, cell.number))
        for cell in cells
    ]


async def taken(store: SnapshotStore, folder: Path, turns: Sequence[Turn], *, name: str = "r1") -> bool:
    """Offer the REPL as it is after the turns, and tell whether the store took a snapshot of it."""
    before = {path.name for path in folder.glob("*")}
    repl: Any = Stub(turns, name=name)
    await store.take(repl, turns, [])
    return bool({path.name for path in folder.glob("*")} - before)


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "s", SnapshotSettings(after_s=1))


async def test_cheap_cells_add_up_until_they_are_worth_a_snapshot_and_then_anew(
    store: SnapshotStore, tmp_path: Path
) -> None:
    turns = turns_of(*[0.4] * 9)

    seen = [await taken(store, tmp_path / "s", turns[:n]) for n in range(1, 10)]

    assert seen == [False, False, True] * 3


async def test_a_cell_counts_once_though_the_store_is_asked_again(store: SnapshotStore, tmp_path: Path) -> None:
    turns = turns_of(0.4)

    assert not any([await taken(store, tmp_path / "s", turns) for _ in range(9)])


async def test_each_repl_has_an_account_of_its_own(store: SnapshotStore, tmp_path: Path) -> None:
    turns = turns_of(0.6)

    assert not any([await taken(store, tmp_path / "s", turns, name=f"r{n}") for n in range(9)])


async def test_calls_that_are_answered_again_take_time_too(store: SnapshotStore, tmp_path: Path) -> None:
    some, many = (turns_of(0.0, calls=int(1 / CALL_S) + more) for more in (-1, 1))

    assert not await taken(store, tmp_path / "s", some)
    assert await taken(store, tmp_path / "s", many, name="r2")


async def test_what_a_cell_took_that_ended_its_repl_does_not_count(store: SnapshotStore, tmp_path: Path) -> None:
    [killed] = turns_of(9.0, status="killed")
    [_, cheap] = turns_of(0.0, 0.1)

    assert not await taken(store, tmp_path / "s", [killed, cheap])


async def test_a_process_that_begins_anew_counts_from_the_snapshot_that_there_is(
    store: SnapshotStore, tmp_path: Path
) -> None:
    turns = turns_of(5.0, 5.0, 0.4, 0.4, 0.4)
    assert [await taken(store, tmp_path / "s", turns[:n]) for n in (1, 2)] == [True, True]
    again = SnapshotStore(tmp_path / "s", SnapshotSettings(after_s=1))

    assert [await taken(again, tmp_path / "s", turns[:n]) for n in (3, 4, 5)] == [False, False, True]


async def test_a_repl_that_holds_something_else_than_the_record_is_not_kept(
    store: SnapshotStore, tmp_path: Path
) -> None:
    turns = turns_of(5.0, 5.0)
    behind: Any = Stub(turns[:1])

    await store.take(behind, turns, [])

    assert not [*tmp_path.glob("s/*")]


async def test_the_latest_snapshot_is_taken_in_with_the_contexts_and_the_cells_of_its_step(
    store: SnapshotStore, tmp_path: Path
) -> None:
    turns = turns_of(5.0, 5.0, 0.1, contexts=3)
    given: list[list[ContextRef]] = []

    async def give(contexts: Sequence[ContextRef]) -> None:
        given.append([*contexts])

    for n in (1, 2):
        repl: Any = Stub(turns[:n])
        await store.take(repl, turns[:n], CONTEXTS)
    fresh: Any = Stub()

    assert await store.restore(fresh, turns, CONTEXTS, give) == 2
    assert fresh.took == [b"after 2"]
    assert given == [CONTEXTS[:2]]
    assert fresh.past == [(1, "act:1"), (2, "act:1")]
