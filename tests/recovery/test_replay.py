"""What replay promises: a REPL is the run's own only if all that it holds is, and what is not rebuilt is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.budget import Budget, Usage
from rlm_graph.calls.subcalls import Subcalls
from rlm_graph.context import ContextStore
from rlm_graph.errors import ReplLostError
from rlm_graph.executors.base import PastCell
from rlm_graph.graphs.subcall import create_subcall
from rlm_graph.ledger import Ledger
from rlm_graph.models import retry_policy
from rlm_graph.recovery.replay import Replay
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.state import ContextRef, Execution, Turn
from rlm_graph.testing import ScriptedModel

CONTEXT = ContextRef(sha256="0" * 64, kind="str", chars=1, bytes=1, parts=1, longest=1)


def cell(number: int, status: Any = "ok") -> Execution:
    return Execution(number=number, code=f"x = {number}", status=status, digest=f"d{number}")


def turn(number: int, *cells: Execution, contexts: int = 0) -> Turn:
    return Turn(number=number, namespace=f"act:{number}", executions=cells, contexts=contexts)


class Held:
    """A REPL that holds some cells, and runs others with what outcome it is told."""

    handle: Any = None

    def __init__(self, *past: tuple[int, str], again: Sequence[Execution] = ()) -> None:
        self.past = tuple(PastCell(number, branch) for number, branch in past)
        self.cells_done = self.past[-1].number if self.past else 0
        self.given: list[int] = []
        self.ran: list[tuple[int, str]] = []
        self._again = {execution.number: execution for execution in again}

    async def add_context(self, number: int, context: ContextRef, *, folder: Path) -> None:
        self.given.append(number)

    async def run(self, code: Any, *, number: int, branch: str, **options: Any) -> Execution:
        self.ran.append((number, branch))
        return self._again[number]


TURNS = (turn(1, cell(1), cell(2)), turn(2, cell(3, "killed"), cell(4)))


@pytest.mark.parametrize(
    ("past", "own"),
    [
        ((), True),
        (((1, "act:1"),), True),
        (((1, "act:1"), (2, "act:1"), (4, "act:2")), True),
        (((1, "act:1"), (2, "act:1"), (4, "act:2"), (5, "act:3")), True),
        (((1, "act:1"), (2, "act:1"), (4, "act:2"), (5, "act:9")), False),
        (((1, "act:1"), (2, "act:1"), (4, "act:2"), (5, "act:2")), False),
        (((1, "act:1"), (2, "act:9")), False),
        (((1, "act:9"),), False),
        (((2, "act:1"),), False),
        (((1, "act:1"), (2, "act:1"), (3, "act:2")), False),
    ],
)
def test_a_repl_is_the_runs_own_if_all_its_cells_are_those_of_the_run_and_of_the_act(past: Any, own: bool) -> None:
    assert Replay.belongs_to(Held(*past), TURNS, "act:3") is own  # type: ignore[arg-type]  # what is looked at of a REPL


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(
        subcalls=Subcalls(create_subcall({None: ScriptedModel([])}, retry=retry_policy()), max_concurrency=1),
        ledger=Ledger(Budget(), Usage()),
        config={"configurable": {"thread_id": "a run", "checkpoint_ns": "act:3"}},
        store=ContextStore(tmp_path / "contexts"),
        snapshots=Never(),
        timeout_s=10,
        strict=False,
    )


class Never(SnapshotStore):
    """Holds no snapshot."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))

    async def restore(self, repl: Any, *_: Any) -> int:
        assert not repl.past, "a REPL that lives is no place for a snapshot"
        return 0


async def test_a_repl_that_lives_gets_what_it_lacks_and_the_model_is_told_nothing(replay: Replay) -> None:
    repl = Held((1, "act:1"), (2, "act:1"), (4, "act:2"))

    assert await replay.rebuild(repl, TURNS, [CONTEXT]) == ()  # type: ignore[arg-type]  # what is asked of a REPL

    assert (repl.ran, repl.given) == ([], [1])


async def test_the_cells_that_are_lost_run_again_with_the_contexts_that_they_had(replay: Replay) -> None:
    turns = (turn(1, cell(1), contexts=1), turn(2, cell(2, "killed"), cell(3), contexts=2))
    repl = Held((1, "act:1"), again=[cell(3)])

    [note] = await replay.rebuild(repl, turns, [CONTEXT] * 3)  # type: ignore[arg-type]  # what is asked of a REPL

    assert repl.ran == [(3, "act:2")]
    assert repl.given == [1, 2, 1, 2, 3]
    assert "variables are back" in note


@pytest.mark.parametrize("status", ["ok", "error", "final"])
@pytest.mark.parametrize("digest", ["another", "yet another"])
async def test_a_cell_that_does_something_else_is_named(replay: Replay, status: Any, digest: str) -> None:
    repl = Held(again=[cell(1), cell(2).model_copy(update={"digest": digest, "status": status}), cell(4)])

    [note] = await replay.rebuild(repl, TURNS, [])  # type: ignore[arg-type]  # what is asked of a REPL

    assert "cell 2:" in note


async def test_a_cell_that_ends_the_repl_when_it_runs_again_ends_the_replay(replay: Replay) -> None:
    repl = Held(again=[cell(1), cell(2, "killed"), cell(4)])

    with pytest.raises(ReplLostError, match="cell 2 ended its REPL"):
        await replay.rebuild(repl, TURNS, [])  # type: ignore[arg-type]  # what is asked of a REPL
    assert repl.ran == [(1, "act:1"), (2, "act:1")]
