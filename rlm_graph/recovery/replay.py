"""Replay: bring a REPL to where the run's record says it was."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from langchain_core.runnables import RunnableConfig

from rlm_graph.calls.subcalls import Subcalls
from rlm_graph.context import ContextStore
from rlm_graph.errors import ReplLostError
from rlm_graph.executors.base import RepeatsReadings, Repl, progress_of
from rlm_graph.ledger import Ledger
from rlm_graph.recovery.snapshots import SnapshotStore, surviving_cells
from rlm_graph.state import Cell, ContextRef, Execution, Turn


class Replay:
    """Runs recorded cells again in a REPL that lost them, with the recorded answers to their calls.

    `ledger` pays for calls that have no record, which happens only where code behaves differently the second time.
    """

    def __init__(
        self,
        *,
        subcalls: Subcalls,
        ledger: Ledger,
        config: RunnableConfig,
        store: ContextStore,
        snapshots: SnapshotStore,
        timeout_s: float,
        strict: bool,
    ) -> None:
        self._subcalls = subcalls
        self._ledger = ledger
        self._config = config
        self._store = store
        self._snapshots = snapshots
        self._timeout_s = timeout_s
        self._strict = strict

    async def rebuild(self, repl: Repl, turns: Sequence[Turn], contexts: Sequence[ContextRef]) -> tuple[str, ...]:
        """Make the REPL hold what `turns` left in it, and `contexts`. Return what the model must know of it.

        A REPL that lives is only given what it lacks; a fresh one begins at the latest snapshot. Raises `ReplLostError`
        if a cell that ended once cannot be run to its end again, or, where replay is strict, if it does something else
        than it did.
        """
        done = repl.cells_done
        give = functools.partial(self._give, repl)
        restored = 0 if done else await self._snapshots.restore(repl, turns, contexts, give)
        done = done or restored
        diverged: list[int] = []
        replayed = 0
        for turn, cell in surviving_cells(turns):
            if cell.number <= done:
                continue
            await self._give(repl, contexts[: turn.contexts])
            again = await self._run(repl, turn, cell)
            replayed += 1
            if again.digest != cell.digest:
                diverged.append(cell.number)
        await self._give(repl, contexts)
        notes = self._notes(replayed, diverged)
        return notes or (("The REPL was restarted; your variables are back.",) if restored else ())

    @staticmethod
    def belongs_to(repl: Repl, turns: Sequence[Turn], namespace: str) -> bool:
        """Tell whether all that the REPL holds belongs to this run, up to the act of that namespace.

        It does not if the run has gone back to an earlier step: the REPL then is another branch's, and stays so.
        """
        expected = [(cell.number, turn.namespace) for turn, cell in surviving_cells(turns)]
        past = list(repl.past)
        common = min(len(past), len(expected))
        return past[:common] == expected[:common] and all(cell.branch == namespace for cell in past[len(expected) :])

    async def _give(self, repl: Repl, contexts: Sequence[ContextRef]) -> None:
        for number, context in enumerate(contexts, start=1):
            await repl.add_context(number, context, folder=self._store.folder(context))

    async def _run(self, repl: Repl, turn: Turn, cell: Execution) -> Execution:
        scope = self._subcalls.within(self._ledger, self._config, namespace=turn.namespace)
        if isinstance(repl, RepeatsReadings):
            repl.give_readings(cell.readings)
        again = await repl.run(
            Cell(code=cell.code, language=cell.language),
            number=cell.number,
            serve=functools.partial(scope.serve, cell.number, progress=progress_of(repl)),
            timeout_s=self._timeout_s,
            started_at=cell.started_at,
            branch=turn.namespace,
        )
        if again.status == "killed":
            raise ReplLostError(
                f"cell {cell.number} ended its REPL when it was run again, so the variables cannot be rebuilt; "
                "fork the run from an earlier step"
            )
        return again

    def _notes(self, replayed: int, diverged: Sequence[int]) -> tuple[str, ...]:
        if not replayed:
            return ()
        if not diverged:
            return ("The REPL was restarted; your earlier cells were run again and their variables are back.",)
        cells = ", ".join(map(str, diverged))
        if self._strict:
            raise ReplLostError(f"cell {cells} did not behave as before when the REPL was rebuilt; see strict_replay")
        return (
            "The REPL was restarted and your earlier cells were run again, but with another outcome than before in "
            f"cell {cells}: check the variables that you rely on.",
        )
