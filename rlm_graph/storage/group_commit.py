"""Writes to an SQLite file: those that wait while one transaction is on its way to disk go together in the next."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from rlm_graph.storage.database import Statement
from rlm_graph.storage.failures import is_busy
from rlm_graph.storage.write_queue import WriteQueue

T = TypeVar("T")

HELD_S = 0.05
"""How long, in seconds, what is held waits for something to go with."""


@dataclass(frozen=True, eq=False)
class _Write:
    """What one caller wants written, all or nothing."""

    statements: Sequence[Statement]
    held_of: str | None = None
    """The run of which there is something among them that others take for written."""


class GroupCommit:
    """Writes on a connection and in a thread of its own, for the tasks of one event loop.

    A write is on disk when `write` returns. Whoever calls it alone has a transaction for himself; of a hundred that
    call it at once, ninety-nine share the second. What may be lost with the process can be held: it goes to the disk
    with what its run writes next, in one piece, or else by itself after `held_s`.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float, held_s: float = HELD_S) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._held_s = held_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rlm-graph-writer")
        self._connection: sqlite3.Connection | None = None
        self._queue = WriteQueue(self._written)
        self._held: dict[str, list[Statement]] = {}
        """By the run whose it is."""
        self._lost: dict[str, Exception] = {}
        """Why what was held could not be written, for the run whose it is: nobody may write more of it without that,
        neither its own steps nor those of the agents below, until it has ended and is taken up again."""
        self._timer: asyncio.TimerHandle | None = None
        self._settling: dict[str, asyncio.Task[Any]] = {}
        """What is on its way from `_held` to the disk, by its run."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Write what waits, and close the connection."""
        await self.settle()
        await self._queue.end()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        finally:
            self._thread.shutdown(wait=False)

    async def write(self, statements: Sequence[Statement], *, run: str | None = None) -> bool:
        """Execute the statements, all or none of them; False, and none, if what one inserts is there already.

        With a `run`, what was held of it is executed before them, and counts as theirs. Raises `sqlite3.Error`. A
        caller that is cancelled meanwhile does not know whether they were executed.
        """
        if run is None:
            return await self._queue.put(_Write(statements))
        await self._settled(run)
        held = self._held.pop(run, ())
        if not held:
            return await self._queue.put(_Write(statements))
        # Whoever writes of the run meanwhile waits: it may be that this fails, and then he may not.
        return await asyncio.shield(self._settle_by(run, self._queue.put(_Write([*held, *statements], held_of=run))))

    def hold(self, statements: Sequence[Statement], *, run: str) -> None:
        """Write the statements before, or with, whatever is written of the run next."""
        self._held.setdefault(run, []).extend(statements)
        self._begin_later()

    async def settle(self, run: str | None = None) -> None:
        """Have what is held of the run, or of all, on disk. Raises what kept that of the run from it.

        Until `forget`, whatever else is asked of that run raises it too.
        """
        if run is None:
            self._begin_all()
            runs = {*self._held, *self._settling}
            await asyncio.gather(*(self.settle(each) for each in runs), return_exceptions=True)
            return
        while run in self._held or run in self._settling:
            self._begin(run)
            await self._settled(run)
        await self._settled(run)

    def forget(self, run: str) -> None:
        """Let the run be taken up again from what is on disk: nothing is at work on it any more."""
        self._lost.pop(run, None)

    async def using(self, work: Callable[[sqlite3.Connection], T], *, run: str | None = None) -> T:
        """Return what a function makes of the connection, in the connection's thread and between two transactions.

        It finds what was held of the run, or of all.
        """
        await self.settle(run)
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._opened()))

    def _begin_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._held_s, self._begin_all)

    def _begin_all(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for run in list(self._held):
            self._begin(run)

    def _begin(self, run: str) -> None:
        if run in self._held and run not in self._settling:
            self._settle_by(run, self._write_held(run))

    def _settle_by(self, run: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        settling = asyncio.create_task(work)
        self._settling[run] = settling

        def settled(task: asyncio.Task[T]) -> None:
            del self._settling[run]
            if not task.cancelled():
                task.exception()  # seen: whoever was to hear of it may have been cancelled, and it is in `_lost`
            if run in self._held:  # since then
                self._begin_later()

        settling.add_done_callback(settled)
        return settling

    async def _write_held(self, run: str) -> None:
        with suppress(Exception):  # noted in `_lost`: the run hears of it when it writes next
            while statements := self._held.pop(run, None):
                await self._queue.put(_Write(statements, held_of=run))

    async def _settled(self, run: str) -> None:
        """Wait until nothing of the run is on its way. Raises what kept it from the disk."""
        while (settling := self._settling.get(run)) is not None:
            if settling.done():
                await asyncio.sleep(0)  # it is about to be taken out
            else:
                await asyncio.wait({settling})
        if (lost := self._lost.get(run)) is not None:
            self._held.pop(run, None)
            raise lost

    async def _written(self, together: Sequence[_Write]) -> Sequence[bool | Exception]:
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._thread, self._transaction, together)
        for write, outcome in zip(together, outcomes, strict=True):
            if write.held_of is not None and isinstance(outcome, Exception):
                self._lost[write.held_of] = outcome
        return outcomes

    # --- In the thread -----------------------------------------------------------------------------------------------

    def _transaction(self, together: Sequence[_Write]) -> list[bool | Exception]:
        """Write all in one transaction; if that fails, each in its own, so that nobody fails for another's sake."""
        if len(together) > 1:
            try:
                return self._attempt(together)
            except Exception as error:
                if isinstance(error, sqlite3.Error) and is_busy(error):  # each would wait as long once more
                    return [error] * len(together)
        outcomes: list[bool | Exception] = []
        for write in together:
            try:
                outcomes += self._attempt([write])
            except sqlite3.IntegrityError:
                outcomes.append(False)
            except Exception as error:  # the caller's, who waits for it
                outcomes.append(error)
        return outcomes

    def _attempt(self, writes: Sequence[_Write]) -> list[bool | Exception]:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            for write in writes:
                for statement, values in write.statements:
                    connection.execute(statement, values)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return [True] * len(writes)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
