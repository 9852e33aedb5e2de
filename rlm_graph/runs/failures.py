"""What the drivers of the database raise, turned into errors of ours."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rlm_graph.errors import Hint, StorageError
from rlm_graph.storage.failures import advice, is_elsewhere_better


def driver_errors() -> tuple[type[Exception], ...]:
    """Return what the drivers that are loaded raise."""
    psycopg = sys.modules.get("psycopg")  # whoever keeps runs in PostgreSQL has loaded it
    return (sqlite3.Error, *((psycopg.Error,) if psycopg else ()))


@contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Have what a driver raises within the block leave it as `StorageError`."""
    try:
        yield
    except driver_errors() as error:
        if isinstance(error, sqlite3.Error):
            hint: Hint | tuple[()] = Hint("name_database") if is_elsewhere_better(error) else ()
            raise StorageError(f"{place}: {advice(error)}", hint=hint) from error
        words = " ".join(str(error).split()) or type(error).__name__
        raise StorageError(f"{place}: the database failed: {words}; what was recorded is kept") from error
