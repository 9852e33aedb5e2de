"""The tables of ours: which there are, in which columns, and the indexes that lead to a row.

LangGraph makes its own beside them (`checkpoints` and what belongs to it, `store`).
"""

from __future__ import annotations

from typing import NamedTuple

VERSION = 3
"""Of what stands here. `rlm_graph/storage/migrations.py` brings a database of an earlier one to it."""

APPLICATION_ID = 0x524C4D47
"""Marks an SQLite file as ours (`RLMG`)."""
VERSION_TABLE = "rlm_graph_schema"
"""Holds the version on PostgreSQL; SQLite has a place for it in the file's head."""

RUN_COLUMNS = ("id", "question", "source", "model", "settings", "status", "usage", "created", "updated")
"""What is read of a run."""
ENCRYPTED_COLUMNS = ("question", "source", "settings")
"""Those that say what a run is about."""

NEWEST = (2.0**62, 2**63 - 1)
"""Later than every run: `created` and `rowid`."""

DATED = "ltrim(substr(id, 1, 8), '0123456789') = '' AND substr(id, 9, 1) = '-'"
"""Holds for an id that begins with a day and a dash, `20261124-k3x9`; both databases read it alike.

An index serves a query only where the query repeats its expressions word for word: this one and `SHORT_ID`.
"""
SHORT_ID = "substr(id, 10)"
"""Of a dated id, the part after the dash."""


class Dialect(NamedTuple):
    """The words that SQLite and PostgreSQL have different ones for."""

    name: str
    real: str
    """A number of 64 bits."""
    bytewise: str
    """What is compared byte by byte, whatever language the server sorts in: the order in which a prefix is a range."""
    rowid: str
    """The column that counts rows in the order in which they were entered, where it does not come by itself."""
    and_rowid: str
    """The same as the last column of an index."""


SQLITE = Dialect("sqlite", real="REAL", bytewise="TEXT", rowid="", and_rowid="")
POSTGRES = Dialect(
    "postgres",
    real="DOUBLE PRECISION",
    bytewise='TEXT COLLATE "C"',
    rowid="rowid BIGINT GENERATED ALWAYS AS IDENTITY,",
    and_rowid=", rowid",
)

_TABLES = """
CREATE TABLE runs (
    {rowid}
    id {bytewise} PRIMARY KEY,
    question TEXT NOT NULL,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,
    status TEXT NOT NULL,
    usage TEXT NOT NULL,
    created {real} NOT NULL,
    updated {real} NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    tenant TEXT NOT NULL DEFAULT '',
    contexts_known INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE encryption (proof TEXT NOT NULL)
"""

RUN_CONTEXTS = """
CREATE TABLE run_contexts (
    run {bytewise} NOT NULL,
    context {bytewise} NOT NULL,
    PRIMARY KEY (run, context)
);
CREATE INDEX run_contexts_by_context ON run_contexts (context, run)
"""
"""Which run refers to which context. A run with `contexts_known = 0` is not in it yet: an earlier version began it."""

RUNS_BY_AGE = "CREATE INDEX runs_by_age ON runs (created{and_rowid})"
INDEXES = f"""
CREATE INDEX runs_by_status ON runs (status, created{{and_rowid}});
CREATE INDEX runs_by_short_id ON runs ({SHORT_ID}) WHERE {DATED};
CREATE INDEX runs_with_unknown_contexts ON runs (id) WHERE contexts_known = 0
"""


def in_dialect(statements: str, dialect: Dialect) -> list[str]:
    """Return the statements one by one, in the words of one database."""
    return [statement.strip() for statement in statements.format(**dialect._asdict()).split(";") if statement.strip()]


def creation(dialect: Dialect) -> list[str]:
    """Return the statements that make all tables in an empty database."""
    return in_dialect(";".join((_TABLES, RUN_CONTEXTS, RUNS_BY_AGE, INDEXES)), dialect)
