"""How a database of an earlier version becomes one of this version: forward, step by step, all or nothing.

Whoever opens a database runs the steps in one transaction and writes the version in it, so a process that is killed
leaves the database as it was. Two that open one database at once take turns, by a lock of the database's own, and the
second finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rlm_graph.errors import Hint, StorageError
from rlm_graph.storage import tables
from rlm_graph.storage.tables import POSTGRES, VERSION, Dialect

_ENCRYPTION = "CREATE TABLE IF NOT EXISTS encryption (proof TEXT NOT NULL)"

_FOR_MANY_RUNS = f"""
ALTER TABLE runs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN contexts_known INTEGER NOT NULL DEFAULT 0;
{tables.RUN_CONTEXTS};
{tables.INDEXES}
"""
"""To 3. Which contexts the runs that are there refer to is read later, when one of them is deleted: that takes the key
of an encrypted database, and time."""

_FOR_MANY_RUNS_ON_POSTGRES = f"""
ALTER TABLE runs ALTER COLUMN id TYPE {{bytewise}};
{tables.RUNS_BY_AGE};
{_FOR_MANY_RUNS}
"""

_COLUMNS_OF_0_1_0 = {
    "rowid", "id", "question", "source", "model", "settings", "status", "usage", "created", "updated",
}  # fmt: skip
"""Of `runs` on PostgreSQL, where version 0.1.0 left no number."""


def steps(version: int, dialect: Dialect) -> list[str]:
    """Return the statements that lead from that version to this one; 0 is an empty database."""
    if version == 0:
        return tables.creation(dialect)
    statements: list[str] = []
    if version < 2:
        statements.append(_ENCRYPTION)
    if version < 3:
        statements += tables.in_dialect(_FOR_MANY_RUNS_ON_POSTGRES if dialect is POSTGRES else _FOR_MANY_RUNS, dialect)
    return statements


def check_version(version: int, place: Path | str) -> None:
    """Raise `StorageError` for a database that a later version has written, which is left as it is."""
    if version > VERSION:
        raise StorageError(
            f"{place}: written by a newer rlm-graph, in form {version} where this one knows {VERSION}; left as it is",
            hint=[Hint("upgrade"), Hint("name_database")],
        )


def version_without_number(runs: Collection[str], names: Collection[str]) -> int | None:
    """Tell the version of a PostgreSQL database that holds no number, by what 0.1.0 made; None if that is not ours.

    `runs` are the columns of the table of that name, `names` those of all tables. What 0.1.0 made, it made table by
    table: killed in between, it left the first without the second, which is a version 1.
    """
    if not runs:
        return 0 if "runs" not in names else None
    if not _COLUMNS_OF_0_1_0.issubset(runs):
        return None
    return 2 if "encryption" in names else 1


def another_kind(place: Path | str, what: str = "a database") -> StorageError:
    """Return the error of a database that is not ours."""
    return StorageError(f"{place}: {what} of another kind, left as it is", hint=Hint("name_database"))
