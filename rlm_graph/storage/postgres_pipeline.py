"""A connection to PostgreSQL on which statements follow one another without waiting for each other's outcome.

psycopg's own pipelines wait for the socket in Python, some forty times for each put of a saver: most of what a
turn takes on this side. Here libpq, as psycopg exposes it (`psycopg.pq`), is called when the event loop sees that
there is something to read or room to write, and not else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

CLOSE_S = 5.0
"""How long to wait at the end for what the server is at work on."""

_BINARY = 1
"""How libpq takes and returns values: a text is its UTF-8, a number has its bytes in network order."""


class Prepared(NamedTuple):
    """A statement that is prepared when the connection opens. Its SQL names the type of each parameter."""

    name: str
    sql: str


Command = tuple[Prepared, Sequence[bytes | None]]
"""A prepared statement, and the values of its parameters."""
Row = tuple[bytes | None, ...]


class _Unit:
    """Statements that are one transaction, and who waits for what comes of them."""

    def __init__(self) -> None:
        self.done: asyncio.Future[list[PGresult]] = asyncio.get_running_loop().create_future()
        self.results: list[PGresult] = []
        self.error: psycopg.Error | None = None

    def add(self, result: PGresult) -> None:
        if result.status == ExecStatus.FATAL_ERROR:
            self.error = self.error or error_from_result(result)
        elif result.status != ExecStatus.PIPELINE_ABORTED:
            self.results.append(result)

    def settle(self, error: psycopg.Error | None = None) -> None:
        if self.done.done():  # its caller was cancelled
            return
        if (failed := self.error or error) is None:
            self.done.set_result(self.results)
        else:
            self.done.set_exception(failed)


class Pipeline:
    """Sends units of statements, each a transaction, at once; the server works on them one after another."""

    def __init__(self, connection: psycopg.AsyncConnection[object]) -> None:
        self._connection = connection
        self._libpq: PGconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = connection.fileno()
        self._units: deque[_Unit] = deque()
        self._lost: psycopg.Error | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, statements: Sequence[Prepared]) -> AsyncIterator[Pipeline]:
        """Connect, and prepare all statements that will be sent. Raises `psycopg.Error`."""
        connection = await psycopg.AsyncConnection.connect(address, autocommit=True, client_encoding="utf8")
        try:
            pipeline = cls(connection)
            pipeline._begin()
            try:
                await pipeline._prepare(statements)
                yield pipeline
            finally:
                await pipeline._end()
        finally:
            await connection.close()

    @property
    def is_lost(self) -> bool:
        """Whether the connection is of no use any more."""
        return self._lost is not None

    async def run(self, commands: Sequence[Command]) -> list[PGresult]:
        """Execute the statements in one transaction, committed when this returns; return a result for each.

        Raises `psycopg.Error`, and then nothing of them is done. A caller that is cancelled meanwhile does not know
        whether they were executed.
        """
        if self._lost is not None:
            raise psycopg.OperationalError(f"the connection was lost: {self._lost}")
        unit = _Unit()
        self._units.append(unit)
        try:
            for (name, _), values in commands:
                formats = [_BINARY] * len(values)
                self._libpq.send_query_prepared(name.encode(), values, formats, result_format=_BINARY)
            self._libpq.pipeline_sync()
            self._flush()
        except psycopg.Error as error:
            self._lose(error)
        return await unit.done

    def _begin(self) -> None:
        self._libpq.nonblocking = 1
        self._libpq.enter_pipeline_mode()
        self._loop.add_reader(self._socket, self._read)

    async def _prepare(self, statements: Sequence[Prepared]) -> None:
        unit = _Unit()
        self._units.append(unit)
        for name, sql in statements:
            self._libpq.send_prepare(name.encode(), sql.encode())
        self._libpq.pipeline_sync()
        self._flush()
        await unit.done

    async def _end(self) -> None:
        if self._units and self._lost is None:
            await asyncio.wait([unit.done for unit in self._units], timeout=CLOSE_S)
        self._lose(psycopg.OperationalError("the connection was closed"))

    def _flush(self) -> None:
        """Send what the socket takes now, and the rest when it takes more."""
        if self._libpq.flush():
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)

    def _write(self) -> None:
        try:
            self._flush()
        except psycopg.Error as error:
            self._lose(error)

    def _read(self) -> None:
        try:
            self._libpq.consume_input()
            self._take_results()
        except psycopg.Error as error:
            self._lose(error)

    def _take_results(self) -> None:
        ended = False
        while self._units and not self._libpq.is_busy():
            result = self._libpq.get_result()
            if result is None:
                if ended:  # twice: there is no more yet
                    break
                ended = True
                continue
            ended = False
            if result.status == ExecStatus.PIPELINE_SYNC:
                self._units.popleft().settle()
            else:
                self._units[0].add(result)
        if self._libpq.status == ConnStatus.BAD:
            self._lose(psycopg.OperationalError(self._libpq.get_error_message()))

    def _lose(self, error: psycopg.Error) -> None:
        """Tell all who wait that the connection is of no use any more."""
        if self._lost is None:
            self._lost = error
            with suppress(OSError, ValueError):
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
        while self._units:
            self._units.popleft().settle(error)
