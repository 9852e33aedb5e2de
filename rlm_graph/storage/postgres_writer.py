"""Rows for a PostgreSQL server: those that wait while one transaction is on its way to disk go together in the next."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from rlm_graph.storage.postgres_pipeline import Command, Pipeline, Prepared, Row
from rlm_graph.storage.write_queue import WriteQueue

GROUP_BYTES = 16 << 20
"""How much goes into one transaction, but for a write that is larger by itself."""

_OIDS = {"text": 25, "bytea": 17, "int4": 23}
"""What PostgreSQL calls the types of elements in an array (`pg_type.dat`)."""
_NULL = struct.pack(">i", -1)


@dataclass(frozen=True, eq=False)
class Insertion:
    """How rows get into a table, any number of them by one statement."""

    table: str
    columns: Sequence[tuple[str, str]]
    """Names and types: `text`, `bytea`, `int4`, or `jsonb`, which is given as text."""
    key: int
    """How many of the columns, from the first on, tell a row from all others."""
    replacing: Sequence[str] = ()
    """The columns of a row that a later one with its key overwrites; by default the earlier row stays as it is."""

    @property
    def statement(self) -> Prepared:
        """The statement, whose parameters are arrays: one for each column."""
        names = ", ".join(name for name, _ in self.columns)
        given = ", ".join(f"{name}::jsonb" if kind == "jsonb" else name for name, kind in self.columns)
        arrays = ", ".join(f"${at}::{_sent(kind)}[]" for at, (_, kind) in enumerate(self.columns, 1))
        key = ", ".join(name for name, _ in self.columns[: self.key])
        set_to = ", ".join(f"{name} = EXCLUDED.{name}" for name in self.replacing)
        conflict = f"DO UPDATE SET {set_to}" if set_to else "DO NOTHING"
        return Prepared(
            f"rlm_graph_{self.table}{'_replacing' if set_to else ''}",
            f"INSERT INTO {self.table} ({names}) SELECT {given} FROM unnest({arrays}) AS given ({names})"  # noqa: S608
            f" ON CONFLICT ({key}) {conflict}",
        )

    def values(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the arrays. Of rows that overwrite one another the last one counts: a statement may have but that."""
        if self.replacing:
            rows = list({row[: self.key]: row for row in rows}.values())
        kinds = (_sent(kind) for _, kind in self.columns)
        return [array(kind, column) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)]


Put = tuple[Insertion, Row]
"""A row, and how it gets into its table."""


class PostgresWriter:
    """Writes rows by one pipeline. They are committed when `write` returns.

    Whoever calls it alone has a transaction for himself; of a hundred that call it at once, ninety-nine share the
    second, in one round trip.
    """

    def __init__(self, pipeline: Pipeline, insertions: Sequence[Insertion]) -> None:
        self.pipeline = pipeline
        """Also reads what it has written."""
        self._prepared = {insertion: insertion.statement for insertion in insertions}
        self._queue = WriteQueue(self._outcomes, together=_in_one_group)

    async def write(self, rows: Sequence[Put]) -> None:
        """Write the rows, all or none. Raises `psycopg.Error`.

        A caller that is cancelled meanwhile does not know whether they were written.
        """
        await self._queue.put(rows)

    async def end(self) -> None:
        """Write what waits."""
        await self._queue.end()

    async def _outcomes(self, together: Sequence[Sequence[Put]]) -> Sequence[psycopg.Error | None]:
        """Write all in one transaction; if that fails, each in its own, so that nobody fails for another's sake."""
        error = await self._attempt(together)
        if error is None or len(together) == 1 or self.pipeline.is_lost:
            return [error] * len(together)
        return await asyncio.gather(*(self._attempt([write]) for write in together))

    async def _attempt(self, writes: Sequence[Sequence[Put]]) -> psycopg.Error | None:
        # Tables do not depend on one another; within one, what comes later must follow what came before.
        rows = sorted((put for rows in writes for put in rows), key=lambda put: put[0].table)
        commands: list[Command] = [
            (self._prepared[insertion], insertion.values([row for _, row in puts]))
            for insertion, puts in itertools.groupby(rows, key=lambda put: put[0])
        ]
        try:
            await self.pipeline.run(commands)
        except psycopg.Error as error:
            return error
        return None


def _in_one_group(waiting: Sequence[Sequence[Put]]) -> int:
    """Return how many of the writes take up to `GROUP_BYTES`, without the frame around them: at least one."""
    sizes = itertools.accumulate(sum(sum(map(len, filter(None, row))) for _, row in rows) for rows in waiting)
    return max(1, sum(1 for size in sizes if size <= GROUP_BYTES))


def _sent(kind: str) -> str:
    return "text" if kind == "jsonb" else kind


def array(kind: str, values: Sequence[bytes | None]) -> bytes:
    """Return an array of one dimension as PostgreSQL's `array_recv` reads it."""
    parts = [struct.pack(">iiIii", 1, None in values, _OIDS[kind], len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (struct.pack(">i", len(value)), value)
    return b"".join(parts)
