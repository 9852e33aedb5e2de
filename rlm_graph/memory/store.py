"""Where the command keeps memory: LangGraph's own store, in a file of the data folder or in the database of runs."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import Hint, SetupError, StorageError
from rlm_graph.settings import Settings
from rlm_graph.settings.sources import without_password
from rlm_graph.storage.postgres import SETUP_LOCK

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

FILE = "memory.sqlite"
PATIENCE_S = 10.0
"""How long to wait for another process that is making the tables."""


def store_place(settings: Settings) -> str:
    """Return what messages call the place where memory lies."""
    return without_password(settings.db) if isinstance(settings.db, str) else str(settings.data_dir / FILE)


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[BaseStore]:
    """Open the store, made if there is none, for as long as the block lasts.

    The file is the user's alone. Raises `StorageError` if it cannot be used, `SetupError` if a driver is missing.
    """
    if isinstance(settings.db, str):
        async with _on_server(settings.db) as on_server:
            yield on_server
        return
    path = settings.data_dir / FILE
    from langgraph.store.sqlite.aio import AsyncSqliteStore

    with _storage_errors(path):
        _make_private(path)
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


@asynccontextmanager
async def _on_server(address: str) -> AsyncIterator[BaseStore]:
    try:
        import psycopg
        from langgraph.store.postgres.aio import AsyncPostgresStore
    except ImportError as error:
        raise SetupError(f"{error}; PostgreSQL needs an extra", hint=Hint("install", "postgres")) from error
    try:
        async with AsyncPostgresStore.from_conn_string(address) as store:
            connection: Any = store.conn
            # Tried again and again, not waited for: a statement that waits holds up the indexes that are being made.
            while True:
                if (await _row(connection, f"SELECT pg_try_advisory_lock({SETUP_LOCK}) AS ours"))["ours"]:
                    break
                await asyncio.sleep(0.05)
            try:
                await store.setup()
            finally:
                await connection.execute(f"SELECT pg_advisory_unlock({SETUP_LOCK})")
            yield store
    except psycopg.Error as error:
        words = " ".join(str(error).split())
        raise StorageError(f"{without_password(address)}: memory cannot be used: {words}") from error


async def _row(connection: Any, query: str) -> dict[str, Any]:
    cursor = await connection.execute(query)
    row: dict[str, Any] = await cursor.fetchone()
    return row


def _make_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StorageError(f"{path}: cannot be made: {error.strerror}; set another data_dir (RLM_DATA_DIR)") from error


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"{path}: memory cannot be used: {error}; it is left as it is") from error
