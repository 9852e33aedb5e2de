"""The database of runs: which there are, how to take each up again, and LangGraph's checkpoints of them.

One SQLite file holds both, or one database of a PostgreSQL server. A run's id is its LangGraph thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from rlm_graph.budget import Usage
from rlm_graph.errors import Hint, InputError, RunNotFoundError, StorageError
from rlm_graph.langgraph_internals import checkpoint_config, make_later_than, strict_serializer
from rlm_graph.state import ContextRef
from rlm_graph.storage.agreement import agree
from rlm_graph.storage.database import BUSY_TIMEOUT_S, Database
from rlm_graph.storage.encryption import Cipher
from rlm_graph.storage.opening import open_database
from rlm_graph.storage.run import Page as Page
from rlm_graph.storage.run import Run as Run
from rlm_graph.storage.run import Status as Status
from rlm_graph.storage.run import cursor, position
from rlm_graph.storage.run_contexts import RunContexts, instances_in
from rlm_graph.storage.run_ids import check_name as check_name
from rlm_graph.storage.run_ids import find_id
from rlm_graph.storage.run_ids import new_id as new_id
from rlm_graph.storage.tables import ENCRYPTED_COLUMNS, NEWEST, RUN_COLUMNS

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.types import StateSnapshot

NODES = ("observe", "think", "approve", "act", "finalize")
"""The nodes of an agent, by whose names their writes are found again; the first is where it starts."""

AT_ONCE = 500
"""Rows that are asked for in one statement."""

_SETTINGS = TypeAdapter(dict[str, JsonValue])


class Runs:
    """An open database of runs. Every failure of it is a `StorageError` that leaves what was recorded as it was.

    No statement here reads more rows than it returns, however many runs there are; `all` and `count` want them all.
    """

    def __init__(self, database: Database, cipher: Cipher | None = None) -> None:
        self._database = database
        self._cipher = cipher
        self._contexts = RunContexts(database, cipher)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path | str, *, cipher: Cipher | None = None, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> AsyncIterator[Runs]:
        """Open the database, made if there is none, for as long as the block lasts: a file, or an address such as
        `postgresql://user@host/name`.

        With a `cipher`, all that runs say is encrypted, from the first run of the database on; one that was begun
        without, or under another key, is a `StorageError`, as is an encrypted one without a `cipher`.

        Files are the user's alone (0600, in a folder of 0700 if it is made here). What the database raises within the
        block leaves it as `StorageError` too: the saver writes to the same one.
        """
        async with open_database(path, busy_timeout_s=busy_timeout_s) as database:
            await agree(database, cipher)
            yield cls(database, cipher)

    @property
    def path(self) -> Path | str:
        """The file, or the server's address without a password."""
        return self._database.place

    @cached_property
    def saver(self) -> BaseCheckpointSaver[Any]:
        """Keeps the checkpoints. It reads back the types that a state of ours holds, and no others."""
        from rlm_graph.state import STORED_TYPES

        serde = strict_serializer(STORED_TYPES)
        if self._cipher is None:
            return self._database.saver(serde, self._contexts)
        return self._database.saver(self._cipher.serializer(serde), self._contexts, encrypted=True)

    # --- Entering runs, and what becomes of them ---------------------------------------------------------------------

    async def create(
        self, *, question: str, source: str, model: str, settings: Mapping[str, JsonValue], id: str | None = None
    ) -> Run:
        """Record a run that is about to start. Raises `InputError` if `id` is no fit name or is taken."""
        if id is not None:
            check_name(id)
        now = time.time()
        encoded = _SETTINGS.dump_json(dict(settings)).decode()
        columns = ", ".join((*RUN_COLUMNS, "contexts_known"))
        while True:
            name = id or new_id()
            entry = (
                name, self._encrypted(question), self._encrypted(source), model, self._encrypted(encoded), "running",
                Usage().model_dump_json(), now, now, 1,
            )  # fmt: skip
            if await self._database.write(
                (f"INSERT INTO runs ({columns}) VALUES ({', '.join('?' * len(entry))})", entry),  # noqa: S608 - literals
                *self._contexts.noting(name, _context_in(settings)),
            ):
                return await self.get(name)
            if id is not None:
                raise _taken(id)

    async def check_new(self, id: str) -> None:
        """Raise `InputError` if there is a run of that id."""
        if await self._database.read("SELECT 1 FROM runs WHERE id = ?", id):
            raise _taken(id)

    async def new_id(self) -> str:
        """Return an id that no run has."""
        while True:
            id = new_id()
            if not await self._database.read("SELECT 1 FROM runs WHERE id = ?", id):
                return id

    async def reopen(self, id: str, settings: Mapping[str, JsonValue]) -> None:
        """Record that the run is at work again, and with which settings."""
        encoded = _SETTINGS.dump_json(dict(settings)).decode()
        await self._database.write(
            (
                "UPDATE runs SET status = 'running', settings = ?, updated = ? WHERE id = ?",
                (self._encrypted(encoded), time.time(), id),
            ),
            *self._contexts.noting(id, _context_in(settings)),
        )

    async def finish(self, id: str, status: Status, usage: Usage) -> None:
        """Record how the run ended, for now or for good, and what it has spent."""
        await self._database.write(
            (
                "UPDATE runs SET status = ?, usage = ?, updated = ? WHERE id = ?",
                (status, usage.model_dump_json(), time.time(), id),
            )
        )

    async def delete(self, id: str) -> None:
        """Remove the run's checkpoints, those of all that it called, and then its entry."""
        await self.saver.adelete_thread(id)
        await self._database.write(("DELETE FROM runs WHERE id = ?", (id,)))

    async def come_after(self, id: str) -> None:
        """Have the checkpoints that this process makes follow all those of the run, whatever its clock says.

        The caller holds the run, and a checkpoint of it has been read.
        """
        query = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ?"
        [(newest,)] = await self._database.read(query, id)
        if newest is not None:
            make_later_than(newest)

    # --- Finding runs ------------------------------------------------------------------------------------------------

    async def get(self, name: str) -> Run:
        """Return the run whose id is `name` or starts so; the date before the dash may be left out.

        Raises `RunNotFoundError`, which names the ids most like it, or `InputError` if several start so.
        """
        id = await find_id(self._database, name)
        found = await self._with_ids([id])
        if not found:
            raise RunNotFoundError(f"no run {name!r} in {self.path}: it was deleted just now", hint=Hint("list_runs"))
        return found[0]

    async def last(self) -> Run:
        """Return the run that was created last. Raises `RunNotFoundError` if there is none."""
        page = await self.page(limit=1)
        if not page.runs:
            raise RunNotFoundError(f"{self.path} holds no run yet")
        return page.runs[0]

    async def page(self, *, limit: int = 50, after: str | None = None, status: Status | None = None) -> Page:
        """Return the newest `limit` runs, or those that come `after` an earlier page.

        `status`: only those that the database has under it. A run that is entered meanwhile moves none from one page
        to the next. Raises `InputError` if `after` came from no page.
        """
        wanted, values = ("", ()) if status is None else ("status = ? AND ", (status,))
        rows = await self._database.read(
            f"SELECT {', '.join(RUN_COLUMNS)}, rowid FROM runs"  # noqa: S608 - literals of ours
            f" WHERE {wanted}(created, rowid) < (?, ?) ORDER BY created DESC, rowid DESC LIMIT ?",
            *values, *(NEWEST if after is None else position(after)), limit + 1,
        )  # fmt: skip
        runs = self._runs([row[:-1] for row in rows[:limit]])
        return Page(
            runs=tuple(runs), after=cursor(runs[-1].created, rows[limit - 1][-1]) if len(rows) > limit else None
        )

    async def after(self, id: str) -> str:
        """Return what leads from the run of that id to those that come after it, see `page`."""
        [(created, row)] = await self._database.read("SELECT created, rowid FROM runs WHERE id = ?", id)
        return cursor(created, row)

    async def each(self) -> AsyncIterator[Run]:
        """Yield every run, the newest first; those that nobody waits for are not read."""
        after: str | None = None
        while True:
            page = await self.page(limit=AT_ONCE, after=after)
            for run in page.runs:
                yield run
            if page.after is None:
                return
            after = page.after

    async def count(self) -> int:
        """Return how many runs there are."""
        [(runs,)] = await self._database.read("SELECT count(*) FROM runs")
        return int(runs)

    async def seen(self, found: Sequence[Run]) -> list[Run]:
        """Return the runs as they are now: one that is `running` while no process holds it was interrupted."""
        free = await self._free([run for run in found if run.status == "running"])
        # Read again: one that has just ended let go of its lock after it had said so.
        now = {run.id: run for run in await self._with_ids(sorted(free))}
        return [
            run if run.id not in free
            else again if (again := now.get(run.id, run)).status != "running"
            else again.model_copy(update={"status": "interrupted"})
            for run in found
        ]  # fmt: skip

    # --- What is recorded of a run -----------------------------------------------------------------------------------

    async def state(self, id: str) -> dict[str, Any]:
        """Return the run's state as its last checkpoint holds it; empty before the first.

        It needs no model: a graph with the same channels and nodes is enough to read them. What a node has written
        counts even if the run was killed before the checkpoint after it.
        """
        return dict((await self.snapshot(id)).values)

    async def snapshot(self, id: str, namespace: str = "") -> StateSnapshot:
        """Return where the run stands, or one of the agents below it, by its namespace."""
        from langgraph.graph import START, StateGraph

        from rlm_graph.channels import RLMState

        reader = StateGraph(RLMState)
        for node in NODES:
            reader.add_node(node, lambda _: {})
        reader.add_edge(START, NODES[0])
        config = checkpoint_config(id, namespace)
        return await reader.compile(checkpointer=self.saver).aget_state(config)

    async def recorded(self, run: Run) -> AsyncIterator[Any]:
        """Yield everything that is recorded of a run and of what it called, from all of its past."""
        for context in _context_in(run.settings):
            yield context
        async for kept in self.saver.alist({"configurable": {"thread_id": run.id}}):
            yield kept.checkpoint["channel_values"]
            yield [value for _, _, value in kept.pending_writes or ()]

    async def unshared(self, run: Run, contexts: Iterable[ContextRef]) -> list[ContextRef]:
        """Return those of the contexts that no other run refers to."""
        await self._know_contexts()
        own = {ref.sha256: ref for ref in contexts}
        return [ref for ref in own.values() if not await self._contexts.is_shared(run.id, ref.sha256)]

    async def check(self) -> None:
        """Raise `StorageError` if the database is damaged, or does not answer."""
        await self._database.check()

    async def _know_contexts(self) -> None:
        """Note the contexts of the runs that an earlier version began: once, all or nothing of each run."""
        after = ""
        while runs := await self._select(f"WHERE contexts_known = 0 AND id > ? ORDER BY id LIMIT {AT_ONCE}", after):
            free = await self._free([run for run in runs if run.status == "running"])
            for run in runs:
                refs = [ref async for value in self.recorded(run) for ref in instances_in(value, ContextRef)]
                known = ("UPDATE runs SET contexts_known = 1 WHERE id = ?", (run.id,))
                # A process of the earlier version may be at work on it, and give it more.
                held = run.status == "running" and run.id not in free
                await self._database.write(*self._contexts.noting(run.id, refs), *(() if held else (known,)))
            after = runs[-1].id

    async def _free(self, runs: Sequence[Run]) -> set[str]:
        """Return the ids of those that no process holds."""
        from rlm_graph.storage.locks import free_runs

        if not runs:
            return set()
        return await asyncio.to_thread(free_runs, await self._database.location(), [run.id for run in runs])

    async def _with_ids(self, ids: Sequence[str]) -> list[Run]:
        found: list[Run] = []
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            found += await self._select(f"WHERE id IN ({', '.join('?' * len(some))})", *some)
        return found

    async def _select(self, clause: str, *values: Any) -> list[Run]:
        columns = ", ".join(RUN_COLUMNS)
        return self._runs(await self._database.read(f"SELECT {columns} FROM runs {clause}", *values))  # noqa: S608

    def _runs(self, rows: Iterable[tuple[Any, ...]]) -> list[Run]:
        try:
            return [self._run(dict(zip(RUN_COLUMNS, row, strict=True))) for row in rows]
        except ValidationError as error:
            problem = f"{self.path}: a run in it cannot be read; left as it is"
            raise StorageError(problem, hint=Hint("name_database")) from error

    def _run(self, row: dict[str, Any]) -> Run:
        if self._cipher is not None:
            row |= {column: self._cipher.decrypt_text(row[column]) for column in ENCRYPTED_COLUMNS}
        settings, usage = _SETTINGS.validate_json(row.pop("settings")), Usage.model_validate_json(row.pop("usage"))
        return Run(settings=settings, usage=usage, **row)

    def _encrypted(self, text: str) -> str:
        return text if self._cipher is None else self._cipher.encrypt_text(text)


def _context_in(settings: Mapping[str, JsonValue]) -> list[ContextRef]:
    """Return the context that a run was started with, as its settings keep it."""
    context = settings.get("context")
    return [ContextRef.model_validate(context)] if isinstance(context, dict) else []


def _taken(id: str) -> InputError:
    return InputError(f"there is a run {id} already", hint=Hint("choose_name", id))
