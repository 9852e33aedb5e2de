"""The database of runs in an SQLite file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from errno import EISDIR
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiosqlite

from rlm_graph.errors import Hint, StorageError
from rlm_graph.storage.database import BUSY_TIMEOUT_S, ContextNotes, Part, Statement
from rlm_graph.storage.failures import DAMAGED, RECOVER, is_busy, storage_errors
from rlm_graph.storage.group_commit import GroupCommit
from rlm_graph.storage.locks import DATABASE_FILE, RecordLocation, location_in_file
from rlm_graph.storage.migrations import another_kind, check_version, steps
from rlm_graph.storage.tables import APPLICATION_ID, SQLITE, VERSION

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.store.base import BaseStore

PATIENCE_S = 10.0
"""How long to wait for another process that is making the tables of the store."""


class SqliteDatabase:
    """An open file: one connection reads, one writes, and both are the saver's too."""

    def __init__(self, connection: aiosqlite.Connection, writer: GroupCommit, path: Path) -> None:
        self._connection = connection
        self._writer = writer
        self._path = path

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> AsyncIterator[SqliteDatabase]:
        """Open the file for as long as the block lasts, made if there is none.

        Files are the user's alone (0600, in a folder of 0700 if it is made here). What SQLite raises within the block,
        to the saver too, leaves it as `StorageError`.
        """
        elsewhere = Hint("name_database")
        with storage_errors(str(path), elsewhere=elsewhere):
            make_private(path, elsewhere)
            async with (
                aiosqlite.connect(path, timeout=busy_timeout_s) as connection,
                GroupCommit(path, busy_timeout_s=busy_timeout_s) as writer,
            ):
                database = cls(connection, writer, path)
                await database.prepare(busy_timeout_s)
                yield database

    @property
    def place(self) -> Path:
        """The file."""
        return self._path

    async def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        await self._writer.settle()
        async with self._connection.execute(query, values) as cursor:
            return [tuple(row) for row in await cursor.fetchall()]

    async def write(self, *statements: Statement) -> bool:
        """Execute the statements, all or none of them; False, and none, if what one inserts is there already."""
        return await self._writer.write(statements)

    def saver(
        self, serde: SerializerProtocol, contexts: ContextNotes, *, encrypted: bool = False
    ) -> BaseCheckpointSaver[Any]:
        """Return a saver on this file; it keeps every value through the serializer."""
        from rlm_graph.storage.noting_saver import noting_contexts
        from rlm_graph.storage.sqlite_saver import GroupedSqliteSaver

        return noting_contexts(GroupedSqliteSaver, contexts)(self._connection, self._writer, serde=serde)

    async def location(self) -> RecordLocation:
        """Return where its runs are locked."""
        place = location_in_file(await self.read(DATABASE_FILE))
        assert place is not None
        return place

    async def check(self) -> None:
        """Read the whole file. Raises `StorageError` if anything in it is damaged."""
        if await self.read("PRAGMA quick_check(1)") != [("ok",)]:
            raise StorageError(f"{self._path}: {DAMAGED}", hint=[RECOVER, Hint("name_database")])

    async def prepare(self, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Make the tables, or bring those of an earlier version to this one. Raises `StorageError` as `open` does."""
        until = time.monotonic() + busy_timeout_s
        while True:
            try:
                return await self._migrate()
            except sqlite3.OperationalError as error:
                # SQLite waits for a writer by itself, but not when it is to turn a new file's journal into a WAL.
                if not is_busy(error) or time.monotonic() > until:
                    raise
            await asyncio.sleep(0.02)

    async def _migrate(self) -> None:
        if await self._version() == VERSION:
            return
        await self._connection.execute("PRAGMA journal_mode=WAL")
        await self._connection.execute("BEGIN IMMEDIATE")
        try:
            # Asked again: until this transaction began, another process may have been at it.
            version = await self._version()
            if version < VERSION:
                for statement in steps(version, SQLITE):
                    await self._connection.execute(statement)
                await self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                await self._connection.execute(f"PRAGMA user_version={VERSION}")
            await self._connection.commit()
        except BaseException:
            await self._connection.rollback()
            raise

    async def _version(self) -> int:
        """Return the version; 0 for an empty file. Raises `StorageError` if it is a later one, or not ours."""
        # In one statement, so that they are of one moment: another process may be making the tables just now.
        [(application, version, tables)] = await self.read(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        )
        if application != APPLICATION_ID and tables:
            raise another_kind(self._path)
        check_version(version, self._path)
        return int(version) if tables else 0


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[BaseStore]:
    """Open LangGraph's store in a file of its own."""
    from langgraph.store.sqlite.aio import AsyncSqliteStore

    elsewhere = Hint("set_data_dir")
    with storage_errors(f"{path}: memory cannot be used", elsewhere=elsewhere):
        make_private(path, elsewhere)
        async with AsyncSqliteStore.from_conn_string(str(path)) as store:
            until = time.monotonic() + PATIENCE_S
            while True:
                try:
                    await store.setup()
                    break
                except (sqlite3.OperationalError, sqlite3.IntegrityError):
                    # Another process makes the tables at this moment.
                    if time.monotonic() > until:
                        raise
                await asyncio.sleep(0.05)
            yield store


def usage(part: str, path: Path, table: str) -> Part:
    """Return how much room a file takes, with its log, and how many rows a table of it has. Nothing is written."""
    files = [path.with_name(f"{path.name}{end}") for end in ("", "-wal", "-shm")]
    return Part(part, str(path), sum(file.stat().st_size for file in files if file.exists()), count(path, table))


def count(path: Path, table: str) -> int:
    """Return how many rows a table has; 0 where there is no such file or table. Raises `StorageError`."""
    if not path.exists() or not path.stat().st_size:
        return 0
    # Where there is no log, nobody writes; SQLite would make one even to read.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    with (
        storage_errors(str(path)),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as connection,
    ):
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            return 0
        [rows] = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608 - a literal of ours
        return int(rows)


def make_private(path: Path, elsewhere: Hint) -> None:
    """Make a file, if there is none, that is the user's alone. Raises `StorageError`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "a folder is no database", str(path))
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StorageError(f"{path}: cannot be made: {error.strerror}", hint=elsewhere) from error
