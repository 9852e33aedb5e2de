"""The database of runs: which there are, how to take each up again, and LangGraph's checkpoints of them.

One SQLite file holds both, or one database of a PostgreSQL server. A run's id is its LangGraph thread.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from difflib import get_close_matches
from errno import EISDIR
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue, TypeAdapter, ValidationError

from rlm_graph.budget import Usage
from rlm_graph.errors import InputError, RunNotFoundError, StorageError
from rlm_graph.langgraph_internals import checkpoint_config, strict_serializer
from rlm_graph.storage.encryption import KEY, Cipher
from rlm_graph.storage.failures import DAMAGED, advice, is_busy, is_elsewhere_better
from rlm_graph.storage.postgres import PostgresTables
from rlm_graph.value import Value

if TYPE_CHECKING:
    import aiosqlite
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.types import StateSnapshot

Status = Literal["running", "done", "partial", "failed", "interrupted", "waiting"]
"""`partial`: a ceiling ended it. `waiting`: for approval.
A run whose process died stays `running` in the database until it is resumed; `Runs.seen` tells it from one at work."""

APPLICATION_ID = 0x524C4D47
"""Marks an SQLite file as ours (`RLMG`)."""
SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 5.0
"""How long to wait for another process that is writing."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY,
    question TEXT NOT NULL,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,
    status TEXT NOT NULL,
    usage TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (created);
CREATE TABLE IF NOT EXISTS encryption (proof TEXT NOT NULL);
"""

_PROOF = "rlm-graph"
"""What the database of encrypted runs holds sealed, so that a wrong key is known at once."""

NODES = ("observe", "think", "approve", "act", "finalize")
"""The nodes of an agent, by whose names their writes are found again; the first is where it starts."""

_SEALED = ("question", "source", "settings")
"""The columns that say what a run is about."""
_COLUMNS = ("id", "question", "source", "model", "settings", "status", "usage", "created", "updated")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1, which read alike."""
_SETTINGS = TypeAdapter(dict[str, JsonValue])


class Run(Value):
    """What the database knows of a run beside its checkpoints."""

    id: str
    question: str
    source: str
    """What the context was taken from, as the user named it."""
    model: str
    settings: dict[str, JsonValue]
    """All that is needed to take the run up again. No secrets: keys come from the environment each time."""
    status: Status
    usage: Usage
    """As of `updated`."""
    created: float
    """Unix seconds, as `updated`."""
    updated: float


class Runs:
    """An open database of runs. Every failure of it is a `StorageError` that leaves the file as it was."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, cipher: Cipher | None = None) -> None:
        self.path: Path | str = path
        """The file, or the server's address without a password."""
        self._connection = connection
        self._cipher = cipher

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path | str, *, cipher: Cipher | None = None, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> AsyncIterator[Runs]:
        """Open the database, made if there is none, for as long as the block lasts: a file, or an address such as
        `postgresql://user@host/name`.

        With a `cipher`, all that runs say is encrypted, from the first run of the database on; one that was begun
        without, or under another key, is a `StorageError`, as is an encrypted one without a `cipher`.

        Files are the user's alone (0600, in a folder of 0700 if it is made here). What SQLite raises within the block
        leaves it as `StorageError` too: the saver writes to the same file.
        """
        if isinstance(path, str):
            async with PostgresTables.open(path) as tables:
                on_server = PostgresRuns(tables, cipher)
                await on_server._agree()
                yield on_server
            return
        import aiosqlite

        with _storage_errors(path):
            _make_private(path)
            async with aiosqlite.connect(path, timeout=busy_timeout_s) as connection:
                runs = cls(connection, path, cipher)
                await runs._prepare(until=time.monotonic() + busy_timeout_s)
                await runs._agree()
                yield runs

    @cached_property
    def saver(self) -> BaseCheckpointSaver[Any]:
        """Keeps the checkpoints. It reads back the types that a state of ours holds, and no others."""
        from rlm_graph.state import STORED_TYPES

        serde = strict_serializer(STORED_TYPES)
        return self._saver(serde if self._cipher is None else self._cipher.serializer(serde))

    async def create(
        self, *, question: str, source: str, model: str, settings: Mapping[str, JsonValue], id: str | None = None
    ) -> Run:
        """Record a run that is about to start. Raises `InputError` if `id` is no fit name or is taken."""
        if id is not None:
            check_name(id)
        now = time.time()
        usage = Usage().model_dump_json()
        encoded = _SETTINGS.dump_json(dict(settings)).decode()
        while True:
            name = id or new_id()
            if await self._write(
                f"INSERT INTO runs ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?)",  # noqa: S608 - literals
                name, self._sealed(question), self._sealed(source), model, self._sealed(encoded), usage, now, now,
            ):  # fmt: skip
                return await self.get(name)
            if id is not None:
                raise _taken(id)

    async def check_new(self, id: str) -> None:
        """Raise `InputError` if there is a run of that id."""
        if any(run.id == id for run in await self.all()):
            raise _taken(id)

    async def new_id(self) -> str:
        """Return an id that no run has."""
        taken = {run.id for run in await self.all()}
        while (id := new_id()) in taken:
            pass
        return id

    async def get(self, name: str) -> Run:
        """Return the run whose id is `name` or starts so; the date before the dash may be left out.

        Raises `RunNotFoundError`, which names the ids most like it, or `InputError` if several start so.
        """
        ids = [run.id for run in await self.all()]
        found = [name] if name in ids else [id for id in ids if name and _answers_to(id, name)]
        if len(found) > 1:
            raise InputError(f"{len(found)} runs start with {name}: {', '.join(found[:5])}; give more of the id")
        if not found:
            near = get_close_matches(name, ids, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; `rlm-graph logs` lists all"
            raise RunNotFoundError(f"no run {name!r} in {self.path}{hint if ids else '; it holds none yet'}")
        rows = await self._select("WHERE id = ?", found[0])
        return rows[0]

    async def last(self) -> Run:
        """Return the run that was created last. Raises `RunNotFoundError` if there is none."""
        rows = await self._select("ORDER BY created DESC, rowid DESC LIMIT 1")
        if not rows:
            raise RunNotFoundError(f"{self.path} holds no run yet")
        return rows[0]

    async def all(self) -> list[Run]:
        """Return every run, the newest first."""
        return await self._select("ORDER BY created DESC, rowid DESC")

    async def state(self, id: str) -> dict[str, Any]:
        """Return the run's state as its last checkpoint holds it; empty before the first.

        It needs no model: a graph with the same channels and nodes is enough to read them. What a node has written
        counts even if the run was killed before the checkpoint after it.
        """
        return dict((await self.snapshot(id)).values)

    async def seen(self, found: Sequence[Run]) -> list[Run]:
        """Return the runs as they are now: one that is `running` while no process holds it was interrupted."""
        from rlm_graph.storage.locks import alocation_of, free_runs

        running = [run.id for run in found if run.status == "running"]
        free = await asyncio.to_thread(free_runs, await alocation_of(self.saver), running) if running else set()
        # Read again: one that has just ended let go of its lock after it had said so.
        now = {run.id: run for run in await self.all()} if free else {}
        return [
            run if run.id not in free
            else again if (again := now.get(run.id, run)).status != "running"
            else again.model_copy(update={"status": "interrupted"})
            for run in found
        ]  # fmt: skip

    async def snapshot(self, id: str, namespace: str = "") -> StateSnapshot:
        """Return where the run stands, or one of the agents below it, by its namespace."""
        from langgraph.graph import START, StateGraph

        from rlm_graph.state import RLMState

        reader = StateGraph(RLMState)
        for node in NODES:
            reader.add_node(node, lambda _: {})
        reader.add_edge(START, NODES[0])
        config = checkpoint_config(id, namespace)
        return await reader.compile(checkpointer=self.saver).aget_state(config)

    async def reopen(self, id: str, settings: Mapping[str, JsonValue]) -> None:
        """Record that the run is at work again, and with which settings."""
        await self._write(
            "UPDATE runs SET status = 'running', settings = ?, updated = ? WHERE id = ?",
            self._sealed(_SETTINGS.dump_json(dict(settings)).decode()), time.time(), id,
        )  # fmt: skip

    async def finish(self, id: str, status: Status, usage: Usage) -> None:
        """Record how the run ended, for now or for good, and what it has spent."""
        await self._write(
            "UPDATE runs SET status = ?, usage = ?, updated = ? WHERE id = ?",
            status, usage.model_dump_json(), time.time(), id,
        )  # fmt: skip

    async def delete(self, id: str) -> None:
        """Remove the run's checkpoints, those of all that it called, and then its entry."""
        await self.saver.adelete_thread(id)
        await self._write("DELETE FROM runs WHERE id = ?", id)

    async def check(self) -> None:
        """Read the whole file. Raises `StorageError` if anything in it is damaged."""
        async with self._connection.execute("PRAGMA quick_check(1)") as cursor:
            row = await cursor.fetchone()
        if row is None or row[0] != "ok":
            raise StorageError(f"{self.path}: {DAMAGED}, or name another with --db")

    async def _select(self, clause: str, *values: str) -> list[Run]:
        query = f"SELECT {', '.join(_COLUMNS)} FROM runs {clause}"  # noqa: S608 - the clauses are literals of this class
        rows = await self._read(query, *values)
        try:
            return [_run(self._opened(dict(zip(_COLUMNS, row, strict=True)))) for row in rows]
        except ValidationError as error:
            raise StorageError(f"{self.path}: a run in it cannot be read; left as it is; give another --db") from error

    async def _agree(self) -> None:
        """Make sure that the database and the caller mean the same by encryption. One without runs takes the caller's.

        Raises `StorageError`.
        """
        proof = await self._proof()
        if self._cipher is None:
            if proof is not None:
                raise StorageError(f"{self.path}: is encrypted; give --encrypt (RLM_ENCRYPT=1), with its key in {KEY}")
            return
        if proof is None:
            await self._write(
                "INSERT INTO encryption (proof) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM runs) "
                "AND NOT EXISTS (SELECT 1 FROM encryption)",
                self._cipher.encrypt_text(_PROOF),
            )
            proof = await self._proof()
        if proof is None:
            raise StorageError(f"{self.path}: was begun without encryption; leave --encrypt out, or give another --db")
        try:
            self._cipher.decrypt_text(proof)
        except StorageError as error:
            raise StorageError(f"{self.path}: is encrypted with another key; left as it is; set {KEY} to it") from error

    async def _proof(self) -> str | None:
        return next((proof for (proof,) in await self._read("SELECT proof FROM encryption")), None)

    def _sealed(self, text: str) -> str:
        return text if self._cipher is None else self._cipher.encrypt_text(text)

    def _opened(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._cipher is None:
            return row
        return {key: self._cipher.decrypt_text(value) if key in _SEALED else value for key, value in row.items()}

    def _saver(self, serde: SerializerProtocol) -> BaseCheckpointSaver[Any]:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        return AsyncSqliteSaver(self._connection, serde=serde)

    async def _write(self, statement: str, *values: Any) -> bool:
        """Execute a statement; False if what it inserts is there already."""
        try:
            await self._connection.execute(statement, values)
        except sqlite3.IntegrityError:
            return False
        await self._connection.commit()
        return True

    async def _read(self, query: str, *values: Any) -> list[Any]:
        async with self._connection.execute(query, values) as cursor:
            return list(await cursor.fetchall())

    async def _prepare(self, *, until: float) -> None:
        while True:
            try:
                return await self._make_tables()
            except sqlite3.OperationalError as error:
                # SQLite waits for a writer by itself, but not when it is to turn a new file's journal into a WAL.
                if not is_busy(error) or time.monotonic() > until:
                    raise
            await asyncio.sleep(0.02)

    async def _make_tables(self) -> None:
        """Make the tables, after a look at whose file it is: a database of something else is not written to."""
        # In one statement, so that they are of one moment: another process may be making the tables just now.
        async with self._connection.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        ) as cursor:
            [(application, version, tables)] = await cursor.fetchall()
        if application != APPLICATION_ID and tables:
            raise StorageError(f"{self.path}: a database of another kind, left as it is; name another with --db")
        if version > SCHEMA_VERSION:
            raise StorageError(f"{self.path}: written by a newer rlm-graph; upgrade, or name another with --db")
        if version == SCHEMA_VERSION:
            return
        await self._connection.executescript(
            f"PRAGMA journal_mode=WAL; BEGIN IMMEDIATE; {_SCHEMA}"
            f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
        )


class PostgresRuns(Runs):
    """The same on a PostgreSQL server."""

    def __init__(self, tables: PostgresTables, cipher: Cipher | None = None) -> None:
        self.path = tables.place
        self._tables = tables
        self._cipher = cipher

    async def check(self) -> None:
        """Ask the server for a sign of life."""
        await self._tables.check()

    def _saver(self, serde: SerializerProtocol) -> BaseCheckpointSaver[Any]:
        return self._tables.saver(serde, sealed=self._cipher is not None)

    async def _write(self, statement: str, *values: Any) -> bool:
        return await self._tables.write(statement, values)

    async def _read(self, query: str, *values: Any) -> list[Any]:
        return await self._tables.read(query, values)


def check_name(id: str) -> None:
    """Raise `InputError` if no run can be called `id`."""
    if not _ID.fullmatch(id):
        raise InputError(f"{id!r} is no name for a run: letters, digits, '.', '_' and '-', 64 at the most")


def _taken(id: str) -> InputError:
    return InputError(f"there is a run {id} already; take it up with `rlm-graph resume {id}`, or choose another name")


def new_id() -> str:
    """Return a short name for a run: the day and four random characters."""
    return time.strftime("%Y%m%d-") + "".join(secrets.choice(_ALPHABET) for _ in range(4))


def _run(row: dict[str, Any]) -> Run:
    settings, usage = _SETTINGS.validate_json(row.pop("settings")), Usage.model_validate_json(row.pop("usage"))
    return Run(settings=settings, usage=usage, **row)


def _answers_to(id: str, name: str) -> bool:
    return id.startswith(name) or (re.match(r"\d{8}-", id) is not None and id[9:].startswith(name))


def _make_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "a folder is no database", str(path))
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StorageError(f"{path}: cannot be made: {error.strerror}; name another with --db") from error


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        elsewhere = ", or name another with --db" if is_elsewhere_better(error) else ""
        raise StorageError(f"{path}: {advice(error)}{elsewhere}") from error
