"""Snapshots of REPLs, kept on the host: a shortcut to where replay leads, never another way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rlm_graph.errors import StorageError
from rlm_graph.executors.base import PastCell, Repl
from rlm_graph.settings import SnapshotSettings
from rlm_graph.state import ContextRef, Execution, Turn
from rlm_graph.storage.encryption import Cipher

CALL_S = 0.005
"""What it costs to answer a call again from its record, in seconds."""
MOST_KNOWN = 1_000
"""REPLs of which is known what they did since their last snapshot."""
KEPT = 2
"""Snapshots of a run. The newest is of a turn that may not have been recorded when the run was killed."""

Give = Callable[[Sequence[ContextRef]], Awaitable[None]]
"""Gives a REPL the contexts that it had at a step."""


class _Point(NamedTuple):
    """The end of a cell, with a name that only the same cells with the same outcomes lead to."""

    turn: Turn
    cell: Execution
    name: str


class _Since(NamedTuple):
    """How far a REPL was when its snapshots were looked at last, and what it did after the newest one."""

    cell: int
    """The number of the last cell that is counted in `cost`."""
    cost: float
    """Seconds."""


class SnapshotStore:
    """Keeps snapshots as files that only this user can read; their bytes are read nowhere but in a sandbox.

    A snapshot's name is a digest of all cells up to it, of what they did, of the contexts they had and of the worker's
    version. So one that is found by its name fits, also after the run went back to an earlier step. Several processes
    may use one folder. With a `cipher` they are encrypted. Nothing is touched before the first use.
    """

    def __init__(self, folder: Path, settings: SnapshotSettings | None = None, *, cipher: Cipher | None = None) -> None:
        self._folder = folder
        self._cipher = cipher
        self._settings = settings or SnapshotSettings()
        self._since: OrderedDict[str, _Since] = OrderedDict()
        """By the REPL, those that were used last."""

    async def take(self, repl: Repl, turns: Sequence[Turn], contexts: Sequence[ContextRef]) -> None:
        """Keep what the REPL holds after `turns`, if it would take long to run all cells since the last one again.

        The files are looked at when the cells that ran since they were looked at last would take so long.
        """
        if self._cost_since(repl, turns) < self._settings.after_s:
            return
        points = list(_points(repl, turns, contexts))
        if not points or repl.cells_done != points[-1].cell.number:
            return
        kept = [index for index, point in enumerate(points) if self._path(point).exists()]
        since = points[kept[-1] + 1 if kept else 0 :]
        cost = sum(_cost(point.cell) for point in since)
        self._since[repl.handle.id] = _Since(points[-1].cell.number, cost)
        if cost < self._settings.after_s:
            return
        snapshot = await repl.snapshot(self._settings.max_bytes)
        if snapshot is None:
            return
        with contextlib.suppress(OSError):  # a full disk costs the shortcut, not the run
            await asyncio.to_thread(self._write, self._path(points[-1]), snapshot)
            for index in kept[: 1 - KEPT]:
                self._path(points[index]).unlink(missing_ok=True)
            self._since[repl.handle.id] = _Since(points[-1].cell.number, 0.0)

    def _cost_since(self, repl: Repl, turns: Sequence[Turn]) -> float:
        """Return what it would take to run the cells again that ran since a snapshot was known, in seconds."""
        known = self._since.pop(repl.handle.id, _Since(0, 0.0))
        cost = known.cost + sum(_cost(cell) for cell in _later(turns, known.cell))
        last = next((cell.number for cell in _later(turns, 0)), 0)
        self._since[repl.handle.id] = _Since(last, cost)
        if len(self._since) > MOST_KNOWN:
            self._since.popitem(last=False)
        return cost

    async def restore(self, repl: Repl, turns: Sequence[Turn], contexts: Sequence[ContextRef], give: Give) -> int:
        """Bring a fresh REPL to the latest step of `turns` that there is a snapshot of. Return its cell's number, or 0.

        One that cannot be used, for instance by another version of Python, is removed.
        """
        points = list(_points(repl, turns, contexts))
        for index in reversed(range(len(points))):
            point = points[index]
            try:
                snapshot = await asyncio.to_thread(self._read, self._path(point))
            except (OSError, StorageError):
                continue
            await give(contexts[: point.turn.contexts])
            restored = False
            try:
                past = [PastCell(earlier.cell.number, earlier.turn.namespace) for earlier in points[: index + 1]]
                restored = await repl.restore(snapshot, past)
            finally:
                if not restored:
                    self._path(point).unlink(missing_ok=True)
            if restored:
                return point.cell.number
        return 0

    def forget(self, turns: Sequence[Turn]) -> None:
        """Remove all snapshots of these turns. Idempotent."""
        for owner in {_owner(turn) for turn in turns}:
            for path in self._folder.glob(f"{owner}-*"):
                path.unlink(missing_ok=True)

    def _path(self, point: _Point) -> Path:
        return self._folder / point.name

    def _read(self, path: Path) -> bytes:
        kept = path.read_bytes()
        return kept if self._cipher is None else self._cipher.decrypt(kept, label=path.name.encode())

    def _write(self, path: Path, snapshot: bytes) -> None:
        """Write a file that is there whole or not at all."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        if self._cipher is not None:
            snapshot = self._cipher.encrypt(snapshot, label=path.name.encode())
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(snapshot)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _cost(cell: Execution) -> float:
    return cell.wall_s + CALL_S * cell.calls


def _later(turns: Sequence[Turn], number: int) -> Iterator[Execution]:
    """Yield the surviving cells after the one of that number, the last one first."""
    for turn in reversed(turns):
        for cell in reversed(turn.executions):
            if cell.number <= number:
                return
            if cell.status != "killed":
                yield cell


def surviving_cells(turns: Sequence[Turn]) -> Iterator[tuple[Turn, Execution]]:
    """Yield the cells whose effects a REPL holds: all but those that ended it."""
    for turn in turns:
        for cell in turn.executions:
            if cell.status != "killed":
                yield turn, cell


def _points(repl: Repl, turns: Sequence[Turn], contexts: Sequence[ContextRef]) -> Iterator[_Point]:
    digest = hashlib.sha256(repl.handle.worker_version.encode())
    for turn, cell in surviving_cells(turns):
        given = [context.sha256 for context in contexts[: turn.contexts]]
        what = [cell.number, turn.namespace, cell.language, cell.code, cell.status, cell.digest, cell.started_at, given]
        digest.update(json.dumps(what).encode())
        yield _Point(turn, cell, f"{_owner(turn)}-{digest.hexdigest()[:32]}")


def _owner(turn: Turn) -> str:
    return hashlib.sha256(turn.namespace.encode()).hexdigest()[:16]
