"""What a database says when it fails, in words that tell what has become of the data and what can be done."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rlm_graph.errors import Hint, StorageError

DAMAGED = "the database is damaged; left as it is"
RECOVER = Hint("recover")

_SQLITE: tuple[tuple[tuple[str, ...], str, tuple[Hint, ...], bool], ...] = (
    (("SQLITE_NOTADB",), "not a database; left as it is", (), True),
    (("SQLITE_CORRUPT",), DAMAGED, (RECOVER,), True),
    (("SQLITE_BUSY", "SQLITE_LOCKED"), "another process holds the database", (Hint("retry"),), True),
    (
        ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"),
        "the database cannot be written",
        (Hint("check_rights"),),
        True,
    ),
    (("SQLITE_FULL",), "no space is left for the database", (Hint("free_space"),), False),
)
"""By how SQLite's names of its errors begin: what is wrong, what helps, and whether another database would."""

_REFUSED = ("password authentication failed", "no password supplied")
"""How libpq says it; it gives no code when a connection fails."""


@contextmanager
def storage_errors(subject: str, *, elsewhere: Hint | None = None) -> Iterator[None]:
    """Let what SQLite or PostgreSQL raises within the block leave it as `StorageError`.

    `subject` says in front what failed: a file, an address. `elsewhere` is how to take another database, a hint that
    is given where that would help.
    """
    try:
        yield
    except database_errors() as error:
        raise storage_error(error, subject, elsewhere=elsewhere) from error


def database_errors() -> tuple[type[Exception], ...]:
    """Return what the drivers raise; that of PostgreSQL only where it is loaded, for else nothing can raise it."""
    driver = sys.modules.get("psycopg")
    return (sqlite3.Error,) if driver is None else (sqlite3.Error, driver.Error)


def storage_error(error: Exception, subject: str, *, elsewhere: Hint | None = None) -> StorageError:
    """Return a driver's error as one of ours."""
    problem, hints, other_would_do = _of_sqlite(error) if isinstance(error, sqlite3.Error) else _of_postgres(error)
    return StorageError(
        f"{subject}: {problem}", hint=[*hints, *([elsewhere] if elsewhere is not None and other_would_do else [])]
    )


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another process is in the way."""
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _of_sqlite(error: sqlite3.Error) -> tuple[str, tuple[Hint, ...], bool]:
    name = _name(error)
    for beginnings, problem, hints, other_would_do in _SQLITE:
        if name.startswith(beginnings):
            return problem, hints, other_would_do
    return f"{error}; what was recorded is kept", (), False


def _of_postgres(error: Exception) -> tuple[str, tuple[Hint, ...], bool]:
    import psycopg

    words = " ".join(str(error).split()) or type(error).__name__
    if any(sign in words for sign in _REFUSED):
        return "the database refuses the password", (Hint("give_password"),), False
    if isinstance(error, psycopg.OperationalError):
        problem = f"the database does not answer: {words}; what was recorded is kept"
        return problem, (Hint("check_server"),), False
    return f"{words}; what was recorded is kept", (), False


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or ""
