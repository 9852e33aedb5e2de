"""The choice between SQLite and PostgreSQL, by the place that the settings name: a file, or the address of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_graph.storage.database import BUSY_TIMEOUT_S, Database, Part

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore


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


def usage(place: Path | str, memory: Path) -> list[Part]:
    """Return how much room the runs and the memory take: that in `memory`, or on the server of the runs.

    Nothing is written, and no key is needed. Raises `StorageError`.
    """
    if isinstance(place, str):
        from rlm_graph.storage import postgres

        return postgres.usage(place)
    from rlm_graph.storage import sqlite

    return [sqlite.usage("runs", place, "runs"), sqlite.usage("memory", memory, "store")]
