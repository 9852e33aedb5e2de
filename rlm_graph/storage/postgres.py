"""The tables of runs on a PostgreSQL server, where the checkpoints are too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import SetupError, StorageError
from rlm_graph.settings.sources import without_password

if TYPE_CHECKING:
    import psycopg
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol

SETUP_LOCK = 0x524C4D47
"""The advisory lock under which tables are made (`RLMG`)."""

_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS runs (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    id TEXT PRIMARY KEY,
    question TEXT NOT NULL,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,
    status TEXT NOT NULL,
    usage TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    updated DOUBLE PRECISION NOT NULL
)
""",
    "CREATE TABLE IF NOT EXISTS encryption (proof TEXT NOT NULL)",
)


_REFUSED = ("password authentication failed", "no password supplied")
"""How libpq says it; it gives no code when a connection fails."""


class PostgresTables:
    """Connections to the server, made by `open`. Their failures leave as `StorageError`.

    The saver has one to itself: it sends its statements in a pipeline, which fails where another command is under way.
    """

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], of_saver: psycopg.AsyncConnection[Any], place: str
    ) -> None:
        self._connection = connection
        self._of_saver = of_saver
        self.place = place

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str) -> AsyncIterator[PostgresTables]:
        """Connect for as long as the block lasts, and make the tables if there are none.

        What the server refuses within the block, to the saver too, leaves it as `StorageError`. Raises `SetupError`
        if the driver is not installed.
        """
        try:
            import psycopg
            from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: F401  # to be known now
            from psycopg.rows import dict_row
        except ImportError as error:
            raise SetupError(f"{error}; PostgreSQL needs an extra: pip install 'rlm-graph[postgres]'") from error
        place = without_password(address)
        with _storage_errors(place):
            async with AsyncExitStack() as stack:
                connection, of_saver = [
                    await stack.enter_async_context(
                        await psycopg.AsyncConnection.connect(
                            address, autocommit=True, prepare_threshold=0, row_factory=dict_row
                        )
                    )
                    for _ in range(2)
                ]
                tables = cls(connection, of_saver, place)
                await tables._prepare()
                yield tables

    def saver(self, serde: SerializerProtocol, *, sealed: bool = False) -> BaseCheckpointSaver[Any]:
        """Return LangGraph's saver. `sealed`: it keeps no value beside the serializer."""
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        if sealed:
            from rlm_graph.storage.encrypted_saver import EncryptedPostgresSaver

            return EncryptedPostgresSaver(self._of_saver, serde=serde)
        return AsyncPostgresSaver(self._of_saver, serde=serde)

    async def write(self, statement: str, values: Sequence[Any]) -> bool:
        """Execute a statement; False if what it inserts is there already."""
        import psycopg

        try:
            with _storage_errors(self.place):
                await self._connection.execute(statement.replace("?", "%s").encode(), values)
        except StorageError as error:
            if isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                return False
            raise
        return True

    async def read(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        with _storage_errors(self.place):
            cursor = await self._connection.execute(query.replace("?", "%s").encode(), values)
            return [tuple(row.values()) for row in await cursor.fetchall()]

    async def check(self) -> None:
        """Ask the server for a sign of life; it looks after its own files."""
        await self.read("SELECT 1", ())

    async def _prepare(self) -> None:
        # Tried again and again, not waited for: a statement that waits would hold up the indexes that are being made.
        while True:
            [(ours,)] = await self.read("SELECT pg_try_advisory_lock(?)", (SETUP_LOCK,))
            if ours:
                break
            await asyncio.sleep(0.05)
        try:
            await self._recognise()
            for statement in _SCHEMA:
                await self._connection.execute(statement.encode())
            from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

            saver: Any = self.saver(JsonPlusSerializer())
            await saver.setup()
        finally:
            await self.read("SELECT pg_advisory_unlock(?)", (SETUP_LOCK,))

    async def _recognise(self) -> None:
        """Raise `StorageError` if the table of runs is somebody else's."""
        found = await self.read(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND table_name = ?",
            ("runs",),
        )
        if found and ("question",) not in found:
            raise StorageError(
                f"{self.place}: its table `runs` is a table of another kind, left as it is; name another with --db"
            )


@contextmanager
def _storage_errors(place: str) -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        words = " ".join(str(error).split())
        if any(sign in words for sign in _REFUSED):
            advice = "set PGPASSWORD, or write it into ~/.pgpass; an address on the command line can be seen by others"
            raise StorageError(f"{place}: the database refuses the password: {advice}") from error
        if isinstance(error, psycopg.OperationalError):
            advice = "check the address, the user and that the server runs; what was recorded is kept"
            raise StorageError(f"{place}: the database does not answer: {words}; {advice}") from error
        raise StorageError(f"{place}: {words}; what was recorded is kept") from error
