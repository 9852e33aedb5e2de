"""A database of runs, whichever server or file it is: the one place that chooses between SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.store.base import BaseStore

    from rlm_graph.storage.run_contexts import RunContexts

Statement = tuple[str, Sequence[Any]]
"""SQL with a `?` for each of the values."""

BUSY_TIMEOUT_S = 5.0
"""How long to wait for another process that is writing."""


class Part(NamedTuple):
    """A part of what is kept, and how much room it takes."""

    part: str
    place: str
    bytes: int
    entries: int
    """Runs, contexts, notes, …: what it holds one or many of."""


class Database(Protocol):
    """An open database whose tables are those of `rlm_graph/storage/tables.py`.

    Every failure of it leaves the block in which it is open as `StorageError`. Statements of several tasks do not mix.
    """

    @property
    def place(self) -> Path | str:
        """The file, or the server's address without a password."""
        ...

    async def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        ...

    async def write(self, *statements: Statement) -> bool:
        """Execute the statements, all or none of them; False, and none, if what one inserts is there already."""
        ...

    def saver(
        self, serde: SerializerProtocol, contexts: RunContexts, *, encrypted: bool = False
    ) -> BaseCheckpointSaver[Any]:
        """Return LangGraph's saver on this database, which notes contexts.

        `encrypted`: it keeps no value beside the serializer.
        """
        ...

    async def check(self) -> None:
        """Raise `StorageError` if the database is damaged, or does not answer."""
        ...


def open_database(
    place: Path | str, *, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> AbstractAsyncContextManager[Database]:
    """Open the database for as long as the block lasts: a file, made if there is none, or a PostgreSQL address.

    One of an earlier version is brought to this one. Raises `StorageError` for one that cannot be used, or that is of
    a later version or another kind, which is left as it is; `SetupError` if the driver is not installed.
    """
    if isinstance(place, str):
        from rlm_graph.storage.postgres import PostgresDatabase

        return PostgresDatabase.open(place)
    from rlm_graph.storage.sqlite import SqliteDatabase

    return SqliteDatabase.open(place, busy_timeout_s=busy_timeout_s)


@asynccontextmanager
async def open_store(place: Path | str) -> AsyncIterator[BaseStore]:
    """Open LangGraph's store, made if there is none, for as long as the block lasts: in a file, or on a server.

    The file is the user's alone. Raises `StorageError` if it cannot be used, `SetupError` if a driver is missing.
    """
    if isinstance(place, str):
        from rlm_graph.storage import postgres

        async with postgres.open_store(place) as store:
            yield store
    else:
        from rlm_graph.storage import sqlite

        async with sqlite.open_store(place) as store:
            yield store


def exists(place: Path | str) -> bool:
    """Tell whether there is a database; of a server that is taken for granted."""
    return isinstance(place, str) or place.exists()


def usage(place: Path | str, memory: Path) -> list[Part]:
    """Return how much room the runs and the memory take: that in `memory`, or on the server of the runs.

    Nothing is written, and no key is needed. Raises `StorageError`.
    """
    if isinstance(place, str):
        from rlm_graph.storage import postgres

        return postgres.usage(place)
    from rlm_graph.storage import sqlite

    return [sqlite.usage("runs", place, "runs"), sqlite.usage("memory", memory, "store")]
