"""What SQLite says when it fails, in words that tell what to do."""

from __future__ import annotations

import sqlite3

DAMAGED = "the database is damaged; left as it is; copy it away and try `sqlite3 FILE .recover`"


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another process is in the way."""
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def advice(error: sqlite3.Error) -> str:
    """Say what has failed and what can be done about it."""
    name = _name(error)
    if name.startswith("SQLITE_NOTADB"):
        return "not a database; left as it is; give the right file"
    if name.startswith("SQLITE_CORRUPT"):
        return DAMAGED
    if is_busy(error):
        return "another process holds the database; try again when it is done"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return "the database cannot be written; check who owns it and its folder"
    if name.startswith("SQLITE_FULL"):
        return "no space is left for the database; free some, then `rlm-graph resume` goes on from the last step"
    return f"{error}; what was recorded is kept"


def is_elsewhere_better(error: sqlite3.Error) -> bool:
    """Tell whether another database would do."""
    return _name(error).startswith(
        ("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CANTOPEN",
         "SQLITE_PERM")
    )  # fmt: skip


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or ""
