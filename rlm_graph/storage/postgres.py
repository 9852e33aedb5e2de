"""The database of runs on a PostgreSQL server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import Hint, SetupError, StorageError
from rlm_graph.settings.sources import without_password
from rlm_graph.storage.database import ContextNotes, Part, Statement
from rlm_graph.storage.failures import storage_errors
from rlm_graph.storage.locks import RecordLocation, location_on_server, setup_lock
from rlm_graph.storage.migrations import another_kind, check_version, steps, version_without_number
from rlm_graph.storage.noting_saver import noting_contexts
from rlm_graph.storage.tables import POSTGRES, VERSION, VERSION_TABLE

if TYPE_CHECKING:
    import psycopg
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.store.base import BaseStore

    from rlm_graph.storage.postgres_writer import PostgresWriter

_OF_RUNS = (
    "runs", "run_contexts", "encryption", VERSION_TABLE,
    "checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_migrations",
)  # fmt: skip
_OF_MEMORY = ("store", "store_migrations")


class PostgresDatabase:
    """Connections to a server.

    The saver has two to itself: it reads and writes by a pipeline, which is opened when it is first used; and what
    LangGraph's own saver does for it fails where another command is under way.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        of_saver: psycopg.AsyncConnection[Any],
        address: str,
        stack: AsyncExitStack,
    ) -> None:
        self._connection = connection
        self._of_saver = of_saver
        self._address = address
        self._place = without_password(address)
        self._stack = stack
        self._writer: PostgresWriter | None = None
        self._lock = asyncio.Lock()
        self._opening = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str) -> AsyncIterator[PostgresDatabase]:
        """Connect for as long as the block lasts, and make the tables if there are none.

        What the server refuses within the block, to the saver too, leaves it as `StorageError`. Raises `SetupError`
        if the driver is not installed.
        """
        with _driver():
            import psycopg
            from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: F401  # to be known now
            from psycopg.rows import dict_row, tuple_row
        place = without_password(address)
        with storage_errors(place):
            async with AsyncExitStack() as stack:
                connection, of_saver = [
                    await stack.enter_async_context(
                        await psycopg.AsyncConnection.connect(
                            address, autocommit=True, prepare_threshold=0, row_factory=rows
                        )
                    )
                    for rows in (tuple_row, dict_row)  # LangGraph's saver wants dicts
                ]
                database = cls(connection, of_saver, address, stack)
                async with setup_lock(connection):
                    await database._migrate()
                    await database._make_checkpoints()
                yield database

    @property
    def place(self) -> str:
        """The server's address without a password."""
        return self._place

    async def location(self) -> RecordLocation:
        """Return where its runs are locked."""
        return location_on_server(self._of_saver)

    async def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        async with self._lock:
            with storage_errors(self._place):
                return list(await (await self._execute(query, values)).fetchall())

    async def write(self, *statements: Statement) -> bool:
        """Execute the statements, all or none of them; False, and none, if what one inserts is there already."""
        import psycopg

        async with self._lock:
            try:
                with storage_errors(self._place):
                    async with self._connection.transaction():
                        for statement, values in statements:
                            await self._execute(statement, values)
            except StorageError as error:
                if isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                    return False
                raise
        return True

    def saver(
        self, serde: SerializerProtocol, contexts: ContextNotes, *, encrypted: bool = False
    ) -> BaseCheckpointSaver[Any]:
        """Return a saver on this server. `encrypted`: one that keeps no value beside the serializer."""
        if encrypted:
            from rlm_graph.storage.encrypted_saver import EncryptedPostgresSaver

            return noting_contexts(EncryptedPostgresSaver, contexts)(self._of_saver, self._opened_writer, serde=serde)
        from rlm_graph.storage.postgres_saver import PipelinedPostgresSaver

        return noting_contexts(PipelinedPostgresSaver, contexts)(self._of_saver, self._opened_writer, serde=serde)

    async def check(self) -> None:
        """Ask the server for a sign of life; it looks after its own files."""
        await self.read("SELECT 1")

    async def _opened_writer(self) -> PostgresWriter:
        """Return what the saver reads and writes by, on a connection that is opened the first time."""
        if self._writer is None:
            async with self._opening:
                if self._writer is None:
                    from rlm_graph.storage.postgres_saver import open_writer

                    self._writer = await self._stack.enter_async_context(open_writer(self._address))
        return self._writer

    async def _execute(self, statement: str, values: Any = ()) -> psycopg.AsyncCursor[Any]:
        return await self._connection.execute(statement.replace("?", "%s").encode(), values)

    async def _migrate(self) -> None:
        version = await self._version()
        if version == VERSION:
            return
        async with self._connection.transaction():
            for statement in steps(version, POSTGRES):
                await self._execute(statement)
            await self._execute(f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version INTEGER NOT NULL)")
            await self._execute(f"DELETE FROM {VERSION_TABLE}")  # noqa: S608 - a literal of ours
            await self._execute(f"INSERT INTO {VERSION_TABLE} VALUES (?)", (VERSION,))  # noqa: S608 - as above

    async def _version(self) -> int:
        """Return the version; 0 for a database without our tables.

        Raises `StorageError` if it is a later one, or if the table of runs is somebody else's.
        """
        columns = await self.read(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        )
        tables = {table for table, _ in columns}
        if VERSION_TABLE in tables:
            [(version,)] = await self.read(f"SELECT max(version) FROM {VERSION_TABLE}")  # noqa: S608 - a literal
            if version is None:
                raise another_kind(self._place, f"its table `{VERSION_TABLE}` is a table")
            check_version(version, self._place)
            return int(version)
        known = version_without_number({column for table, column in columns if table == "runs"}, tables)
        if known is None:
            raise another_kind(self._place, "its table `runs` is a table")
        return known

    async def _make_checkpoints(self) -> None:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        # Some of its indexes are made outside of transactions: one that was cut off is made again the next time.
        await AsyncPostgresSaver(self._of_saver).setup()


@asynccontextmanager
async def open_store(address: str) -> AsyncIterator[BaseStore]:
    """Open LangGraph's store on a server."""
    with _driver():
        from langgraph.store.postgres.aio import AsyncPostgresStore
    with storage_errors(f"{without_password(address)}: memory cannot be used"):
        async with AsyncPostgresStore.from_conn_string(address) as store:
            connection: Any = store.conn
            async with setup_lock(connection):
                await store.setup()
            yield store


def usage(address: str) -> list[Part]:
    """Return how much room the tables on a server take, with their indexes; and all else in the database."""
    with _driver():
        import psycopg
    place = without_password(address)
    with storage_errors(place), psycopg.connect(address, autocommit=True) as connection:
        there = {
            str(name): int(size)
            for name, size in connection.execute(
                "SELECT tablename, pg_total_relation_size(format('%I.%I', schemaname, tablename)::regclass)"
                " FROM pg_tables WHERE schemaname = current_schema()"
            )
        }
        parts = [
            Part(
                part,
                place,
                sum(there.get(name, 0) for name in names),
                _rows(connection, names[0]) if names[0] in there else 0,
            )
            for part, names in (("runs", _OF_RUNS), ("memory", _OF_MEMORY))
        ]
        [whole] = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        others = [name for name in there if name not in (*_OF_RUNS, *_OF_MEMORY)]
        rest = int(whole) - sum(part.bytes for part in parts)
        return [*parts, Part("rest of the database", place, rest, len(others))]


def _rows(connection: psycopg.Connection[Any], table: str) -> int:
    [rows] = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() or (0,)  # noqa: S608 - ours
    return int(rows)


@contextmanager
def _driver() -> Iterator[None]:
    """Say what to install where the driver is missing."""
    try:
        yield
    except ImportError as error:
        raise SetupError(f"{error}; PostgreSQL needs an extra", hint=Hint("install", "postgres")) from error
