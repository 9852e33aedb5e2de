"""One process at a time on a run.

LangGraph's savers have no lock: two processes on one thread would both succeed, and the chain of checkpoints would
fork. So whoever runs a thread holds a lock that dies with its process: on a file beside an SQLite database, or an
advisory lock on a connection for locks alone in PostgreSQL. In memory nobody else can reach a run but this process.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import socket
import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import Hint, RunHeldError, StorageError
from rlm_graph.langgraph_internals import connection_of, identity_of, kind_of_saver, loop_of, open_connection
from rlm_graph.storage.data_folder import locks_beside
from rlm_graph.storage.failures import storage_errors
from rlm_graph.storage.lock_connections import holding, lock_connection

if TYPE_CHECKING:
    import psycopg
    from langgraph.checkpoint.base import BaseCheckpointSaver

LOCK_SPACE = 0x524C4D47
"""The class of our advisory locks on runs in PostgreSQL (`RLMG`)."""
SETUP_LOCK = 0x524C4D47
"""The advisory lock under which tables are made there: one number, where the locks on runs have two."""

POLL_S = 0.5
"""Between two looks whether a run that is waited for is free."""

LOOK_S = 0.05
"""How long a look at a lock may keep others from taking it."""

SETUP_POLL_S = 0.05
"""Between two attempts to be the one who makes the tables."""

HERE = "this process, in another task or thread, or by a stream that was neither read to its end nor closed"
"""Who holds a run that this process holds itself."""

_here: set[tuple[str, str]] = set()
_guard = threading.Lock()


def _after_fork() -> None:
    """Have a forked process hold nothing: what its parent holds stays the parent's."""
    global _guard
    _guard = threading.Lock()
    _here.clear()
    _shared.clear()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class RecordLocation:
    """Where runs are recorded, as far as locking them goes: a file, a PostgreSQL server, or this process's memory."""

    name: str
    path: Path | None = None
    conninfo: str | None = None


def know(saver: BaseCheckpointSaver[Any]) -> None:
    """Remember that the saver's connection belongs to this process, and to none that is forked from it."""
    with suppress(TypeError):  # a saver in memory is copied with the process
        _opened.setdefault(identity_of(saver), os.getpid())


_opened: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
"""By what makes a saver itself, the process that its connection belongs to."""


def _check_process(saver: BaseCheckpointSaver[Any]) -> None:
    know(saver)
    if _opened.get(identity_of(saver)) != os.getpid():
        raise StorageError(
            f"the connection of this {type(saver).__name__} was opened before the process was forked, and belongs to "
            "its parent: open a checkpointer in the process that uses it, and make the agent there"
        )


def location_of(saver: BaseCheckpointSaver[Any]) -> RecordLocation:
    """Return where a saver keeps its records. A saver that is bound to an event loop is asked there.

    Raises `StorageError` on that loop itself, which would wait for itself, and where the loop does not run any more;
    also for a connection that this process has from the one that it was forked from.
    """
    loop = loop_of(saver)
    if loop is not None:
        _check_process(saver)
        _check_loop(saver, loop)
    if kind_of_saver(saver) == "sqlite":
        if loop is not None:
            return asyncio.run_coroutine_threadsafe(alocation_of(saver), loop).result()
        connection: sqlite3.Connection = connection_of(saver)
        place = _sqlite(connection.execute(DATABASE_FILE).fetchall(), saver)
        if place.path is not None:
            _check_process(saver)
        return place
    return _elsewhere(saver)


def _check_loop(saver: BaseCheckpointSaver[Any], loop: asyncio.AbstractEventLoop) -> None:
    if loop is asyncio._get_running_loop():
        raise StorageError(
            f"a synchronous call, such as invoke() or stream(), with {type(saver).__name__} on the event loop that the "
            "saver works on would wait for itself: call `await agent.ainvoke(...)` or `agent.astream(...)`, or give "
            "the agent a synchronous saver"
        )
    if not loop.is_running():
        raise StorageError(
            f"the event loop of this {type(saver).__name__} does not run any more; open the saver on the loop that "
            "uses it, or give the agent a synchronous saver"
        )


async def alocation_of(saver: BaseCheckpointSaver[Any]) -> RecordLocation:
    """Return where a saver keeps its records, asked on its own event loop."""
    if kind_of_saver(saver) == "sqlite" and loop_of(saver) is not None:
        _check_process(saver)
        connection = await open_connection(saver)
        async with connection.execute(DATABASE_FILE) as cursor:
            return _sqlite(await cursor.fetchall(), saver)
    return location_of(saver) if loop_of(saver) is None else _elsewhere(saver)


DATABASE_FILE = "SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'"
"""As bytes, for names of files may be no UTF-8."""


def _sqlite(databases: Iterable[Any], saver: BaseCheckpointSaver[Any]) -> RecordLocation:
    return location_in_file(databases) or _in_memory(saver)


def location_in_file(databases: Iterable[Any]) -> RecordLocation | None:
    """Return the place that the rows of `DATABASE_FILE` tell; None for a database in memory."""
    files = [os.fsdecode(file) for (file,) in databases if file]
    return RecordLocation(files[0], path=Path(files[0])) if files else None


def _in_memory(saver: BaseCheckpointSaver[Any]) -> RecordLocation:
    return RecordLocation(f"memory {id(identity_of(saver))}")


def _elsewhere(saver: Any) -> RecordLocation:
    if kind_of_saver(saver) == "postgres":
        _check_process(saver)
        return location_on_server(connection_of(saver))
    return _in_memory(saver)


def location_on_server(connection: Any) -> RecordLocation:
    """Return the place that a connection to PostgreSQL, or a pool of them, leads to."""
    conninfo = _conninfo(connection)
    return RecordLocation(conninfo, conninfo=conninfo)


def _conninfo(connection: Any) -> str:
    from psycopg.conninfo import make_conninfo

    if hasattr(connection, "conninfo"):  # a pool
        return str(connection.conninfo)
    return make_conninfo("", **connection.info.get_parameters(), password=connection.info.password or None)


@contextmanager
def lock_run(place: RecordLocation, run: str) -> Iterator[None]:
    """Hold the run for as long as the block lasts. Blocks on files and sockets: use it in a thread.

    Raises `RunHeldError` at once if another process, or this one, is at work on it.
    """
    with ExitStack() as stack:
        stack.enter_context(_held_here(place.name, run))
        if place.path is not None:
            stack.enter_context(_held_by_file(lock_file(place.path, run), run))
        if place.conninfo is not None:
            stack.enter_context(_held_by_postgres(place.conninfo, run))
        yield


@asynccontextmanager
async def alock_run(
    saver: BaseCheckpointSaver[Any], run: str, *, waiting: Callable[[RunHeldError], None] | None = None
) -> AsyncIterator[RecordLocation]:
    """Hold the run for as long as the block lasts.

    Raises `RunHeldError` if somebody is at work on it; with `waiting`, which is told once who that is, waits instead.
    """
    place, told = await alocation_of(saver), False
    while True:
        lock = lock_run(place, run)
        try:
            await asyncio.to_thread(lock.__enter__)
            break
        except RunHeldError as error:
            if waiting is None:
                raise
            if not told:
                waiting(error)
                told = True
        await asyncio.sleep(POLL_S)
    try:
        yield place
    finally:
        lock.__exit__(None, None, None)


@dataclass
class _Shared:
    """A lock that several graphs of one step hold together."""

    step: object
    users: int = 1
    lock: ExitStack = field(default_factory=ExitStack)
    ready: threading.Event = field(default_factory=threading.Event)
    failed: bool = False


_shared: dict[tuple[str, str], _Shared] = {}


@contextmanager
def lock_run_of_step(place: RecordLocation, run: str, step: object) -> Iterator[None]:
    """Hold a run that is nested in a step of a larger graph, together with whatever else the step runs. Blocks.

    A step that calls two tools at once may run two agents under one name. Raises `RunHeldError` as `lock_run` does.
    """
    key = (place.name, run)
    with _guard:
        shared = _shared.get(key)
        if shared is not None and shared.step is not step:
            raise RunHeldError(run, HERE)
        if first := shared is None:
            shared = _shared[key] = _Shared(step)
        else:
            shared.users += 1
    try:
        if first:
            try:
                shared.lock.enter_context(lock_run(place, run))
            except BaseException:
                shared.failed = True
                raise
            finally:
                shared.ready.set()
        else:
            shared.ready.wait()
            if shared.failed:
                raise RunHeldError(run, HERE)
        yield
    finally:
        with _guard:
            shared.users -= 1
            if last := shared.users == 0:
                del _shared[key]
        if last:
            shared.lock.close()


def free_runs(place: RecordLocation, runs: Iterable[str]) -> set[str]:
    """Return those of the runs that no process holds. Blocks on files and sockets: use it in a thread."""
    with _guard:
        free = {run for run in runs if (place.name, run) not in _here}
    if place.path is not None:
        path = place.path
        return {run for run in free if not _is_locked(lock_file(path, run))}
    if place.conninfo is not None and free:
        return free - _locked_in_postgres(place.conninfo, free)
    return free


def lock_file(database: Path, run: str) -> Path:
    """Return the file whose lock is the run's, in a folder beside the database."""
    return locks_beside(database) / f"{hashlib.sha256(run.encode()).hexdigest()[:24]}.lock"


def forget_lock(place: RecordLocation, run: str) -> None:
    """Remove the lock's file; whoever calls it holds the run and has deleted it."""
    if place.path is not None:
        lock_file(place.path, run).unlink(missing_ok=True)


@contextmanager
def _held_here(place: str, run: str) -> Iterator[None]:
    with _guard:
        if (place, run) in _here:
            raise RunHeldError(run, HERE)
        _here.add((place, run))
    try:
        yield
    finally:
        with _guard:
            _here.discard((place, run))


@contextmanager
def _held_by_file(path: Path, run: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # Not zero: somebody may be looking for a moment whether it is held.
        lock = FileLock(path, timeout=LOOK_S, poll_interval=LOOK_S / 5, mode=0o600, thread_local=False)
        lock.acquire()
    except Timeout:
        raise RunHeldError(run, _read(path)) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be locked: {error.strerror}", hint=Hint("name_database")) from error
    process = os.getpid()
    try:
        path.write_text(_holder(), encoding="utf-8")
        yield
    finally:
        if os.getpid() == process:  # a forked process shares the lock: to release it would let go of its parent's
            lock.release()


def _is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _holder() -> str:
    """Say who we are and since when, as the one who waits will read it."""
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S%z')}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except OSError:
        return "another process"


@contextmanager
def _held_by_postgres(conninfo: str, run: str) -> Iterator[None]:
    import psycopg

    def connect() -> psycopg.Connection[Any]:
        with storage_errors(f"run {run} cannot be locked"):
            return psycopg.connect(conninfo, autocommit=True, application_name=_holder()[:63])

    key = _key(run)
    process = os.getpid()
    with lock_connection(conninfo, connect) as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_SPACE, key)).fetchone()
        if not (row and row[0]):
            raise RunHeldError(run, _postgres_holder(connection, key))
        try:
            with holding(conninfo, run, connection):
                yield
        finally:
            # Other runs go on on this connection. And where it is closed, the server takes a moment to notice, while
            # the next holder may be there at once.
            with suppress(psycopg.Error):
                if os.getpid() == process:
                    connection.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_SPACE, key))


def _key(run: str) -> int:
    return int.from_bytes(hashlib.sha256(run.encode()).digest()[:4], "big", signed=True)


def _locked_in_postgres(conninfo: str, runs: Iterable[str]) -> set[str]:
    import psycopg

    query = (
        "SELECT objid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE locktype = 'advisory' AND classid = %s AND granted AND datname = current_database()"
    )
    with storage_errors("the locks cannot be read"), psycopg.connect(conninfo, autocommit=True) as connection:
        held = {int(key) for (key,) in connection.execute(query, (LOCK_SPACE,))}
    return {run for run in runs if _key(run) & 0xFFFFFFFF in held}


def _postgres_holder(connection: psycopg.Connection[Any], key: int) -> str:
    row = connection.execute(
        "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND granted",
        (LOCK_SPACE, key & 0xFFFFFFFF),
    ).fetchone()
    return str(row[0]) if row else "another process"


@asynccontextmanager
async def setup_lock(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """Be the only one who makes tables in this PostgreSQL database, for as long as the block lasts."""
    # Tried again and again, not waited for: a statement that waits would hold up the indexes that are being made.
    while True:
        cursor = await connection.execute("SELECT 1 WHERE pg_try_advisory_lock(%s)", (SETUP_LOCK,))
        if await cursor.fetchone() is not None:
            break
        await asyncio.sleep(SETUP_POLL_S)
    try:
        yield
    finally:
        if not connection.closed:  # the lock went with it
            await connection.execute("SELECT pg_advisory_unlock(%s)", (SETUP_LOCK,))
