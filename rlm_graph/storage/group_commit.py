"""Writes to an SQLite file: those that wait while one transaction is on its way to disk go together in the next."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from rlm_graph.storage.database import Statement
from rlm_graph.storage.failures import is_busy

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Write:
    """What one caller wants written, all or nothing, and who hears what came of it."""

    statements: Sequence[Statement]
    done: asyncio.Future[bool]


class GroupCommit:
    """Writes on a connection and in a thread of its own, for the tasks of one event loop.

    A write is on disk when `write` returns. Whoever calls it alone has a transaction for himself; of a hundred that
    call it at once, ninety-nine share the second.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rlm-graph-writer")
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[_Write] = []
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Write what waits, and close the connection."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        finally:
            self._thread.shutdown(wait=False)

    async def write(self, statements: Sequence[Statement]) -> bool:
        """Execute the statements, all or none of them; False, and none, if what one inserts is there already.

        Raises `sqlite3.Error`. A caller that is cancelled meanwhile does not know whether they were executed.
        """
        write = _Write(statements, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await write.done

    async def using(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a function makes of the connection, in the connection's thread and between two transactions."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._opened()))

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        together: list[_Write] = []
        try:
            while self._waiting:
                together, self._waiting = self._waiting, []
                outcomes = await loop.run_in_executor(self._thread, self._transaction, together)
                for write, outcome in zip(together, outcomes, strict=True):
                    if write.done.done():  # its caller was cancelled
                        continue
                    if isinstance(outcome, bool):
                        write.done.set_result(outcome)
                    else:
                        write.done.set_exception(outcome)
        except BaseException:
            # The event loop ends, or the file was closed: nobody may wait for ever.
            for write in (*together, *self._waiting):
                write.done.cancel()
            self._waiting = []
            raise
        finally:
            self._writing = None

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
