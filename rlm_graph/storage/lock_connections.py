"""The connections to PostgreSQL servers on which this process holds its runs: one for each server, however many runs.

A server takes a hundred connections by default, so fifty runs with one each would leave little to others.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg


@dataclass(eq=False)
class _Shared:
    connection: psycopg.Connection[Any]
    users: int = 0


_shared: dict[str, _Shared] = {}
_holding: dict[tuple[str, str], psycopg.Connection[Any]] = {}
"""By server and run, the connection on which this process holds the run."""
_guard = threading.Lock()


def _after_fork() -> None:
    """Have a forked process share nothing: the connections are its parent's."""
    global _guard
    _guard = threading.Lock()
    _shared.clear()
    _holding.clear()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def lock_connection(conninfo: str, open: Callable[[], psycopg.Connection[Any]]) -> Iterator[psycopg.Connection[Any]]:
    """Yield the connection of this process to a server, which `open` makes and the last who leaves closes. Blocks.

    One that was lost is closed for new users, and those who had it see that for themselves. Threads may share it.
    """
    with _guard:
        shared = _shared.get(conninfo)
        if shared is None or not _answers(shared.connection):
            shared = _shared[conninfo] = _Shared(open())
        shared.users += 1
    process = os.getpid()
    try:
        yield shared.connection
    finally:
        if os.getpid() == process:  # in a forked process, the connection is its parent's
            with _guard:
                shared.users -= 1
                if not shared.users:
                    if _shared.get(conninfo) is shared:
                        del _shared[conninfo]
                    shared.connection.close()


@contextmanager
def holding(conninfo: str, run: str, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Note that the run is held on that connection, for as long as the block lasts."""
    _holding[conninfo, run] = connection
    try:
        yield
    finally:
        _holding.pop((conninfo, run), None)


def was_lost(conninfo: str, run: str) -> bool:
    """Tell whether the server has ended the connection on which this process holds the run, without asking it.

    Another process may hold the run since.
    """
    connection = _holding.get((conninfo, run))
    if connection is None:
        return False
    if connection.closed:
        return True
    looking = select.poll()
    looking.register(connection.fileno(), getattr(select, "POLLRDHUP", 0))
    return bool(looking.poll(0))


def _answers(connection: psycopg.Connection[Any]) -> bool:
    import psycopg

    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
