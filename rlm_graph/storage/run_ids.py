"""How runs are called."""

from __future__ import annotations

import re
import secrets
import time
from difflib import get_close_matches

from rlm_graph.errors import Hint, InputError, RunNotFoundError
from rlm_graph.storage.database import Database
from rlm_graph.storage.tables import DATED, NEWEST, SHORT_ID

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PART = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1, which read alike."""

AMBIGUOUS = 5
"""Runs that are named where several could be meant."""
NEAR = 200
"""Runs among which the name of one that is not there is looked for: the newest, and its neighbours by name."""
_ABOVE = "\x7f"
"""Sorts behind every character of an id, byte by byte: all ids that start with x lie from x to x + `_ABOVE`."""


def new_id() -> str:
    """Return a short name for a run: the day and four random characters."""
    return time.strftime("%Y%m%d-") + "".join(secrets.choice(_ALPHABET) for _ in range(4))


def check_name(id: str) -> None:
    """Raise `InputError` if no run can be called `id`."""
    if not _ID.fullmatch(id):
        raise InputError(f"{id!r} is no name for a run: letters, digits, '.', '_' and '-', 64 at the most")


async def find_id(database: Database, name: str) -> str:
    """Return the id that is `name` or starts so; the date before the dash may be left out.

    Raises `RunNotFoundError`, which names the ids most like it, or `InputError` if several start so.
    """
    if not _PART.fullmatch(name):
        raise await _not_found(database, name)
    if await database.read("SELECT 1 FROM runs WHERE id = ?", name):
        return name
    meant = await _answering_to(database, name)
    if len(meant) > AMBIGUOUS:
        raise InputError(f"many runs start with {name}: {', '.join(meant[:AMBIGUOUS])}, …; give more of the id")
    if len(meant) > 1:
        raise InputError(f"{len(meant)} runs start with {name}: {', '.join(meant)}; give more of the id")
    if not meant:
        raise await _not_found(database, name)
    return meant[0]


async def _answering_to(database: Database, name: str) -> list[str]:
    """Return the ids that start so, or whose part after the date does: the newest first, one more than are named."""
    rows: set[tuple[float, int, str]] = set()
    for condition in ("id >= ? AND id < ?", f"{DATED} AND {SHORT_ID} >= ? AND {SHORT_ID} < ?"):
        query = f"SELECT created, rowid, id FROM runs WHERE {condition} LIMIT {AMBIGUOUS + 1}"  # noqa: S608 - literals
        rows |= {(created, row, id) for created, row, id in await database.read(query, name, name + _ABOVE)}
    return [id for _, _, id in sorted(rows, reverse=True)][: AMBIGUOUS + 1]


async def _not_found(database: Database, name: str) -> RunNotFoundError:
    newest = "SELECT id FROM runs WHERE (created, rowid) < (?, ?) ORDER BY created DESC, rowid DESC"
    rows = await database.read(f"{newest} LIMIT {NEAR}", *NEWEST)
    if not rows:
        return RunNotFoundError(f"no run {name!r} in {database.place}; it holds none yet")
    if _PART.fullmatch(name):
        for neighbours in ("id >= ? ORDER BY id", "id < ? ORDER BY id DESC"):
            rows += await database.read(f"SELECT id FROM runs WHERE {neighbours} LIMIT {NEAR}", name)  # noqa: S608
    near = get_close_matches(name, list(dict.fromkeys(id for (id,) in rows)), n=3, cutoff=0.4)
    if near:
        return RunNotFoundError(f"no run {name!r} in {database.place}; did you mean {' or '.join(near)}?")
    return RunNotFoundError(f"no run {name!r} in {database.place}", hint=Hint("list_runs"))
