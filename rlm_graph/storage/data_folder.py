"""The data folder: what lies where in it; `usage.py` says how much room each part takes.

Whatever is kept beside the database of runs has its place from here. Encrypted things have places of their own: a
folder may have been used with encryption and without.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlm_graph.settings.settings import RUNS_FILE


@dataclass(frozen=True)
class DataFolder:
    """The folder where runs and contexts are kept. Nothing is touched before the first use."""

    path: Path

    @property
    def database(self) -> Path:
        """The database of runs, unless the settings name another."""
        return self.path / RUNS_FILE

    @property
    def memory(self) -> Path:
        """The notes of memory, unless the runs lie on a server: then they lie there too."""
        return self.path / "memory.sqlite"

    @property
    def pyodide(self) -> Path:
        """The runtime of the pyodide executor, and what its REPLs start from."""
        return self.path / "pyodide"

    def contexts(self, *, encrypted: bool) -> Path:
        """The folder of the contexts."""
        return self._kept(encrypted) / "contexts"

    def snapshots(self, *, encrypted: bool) -> Path:
        """The folder of the snapshots of REPLs."""
        return snapshots_beside(self.contexts(encrypted=encrypted))

    def replies(self, *, encrypted: bool) -> Path:
        """The replies of models that are kept on request."""
        return self.path / ("sealed-replies.sqlite" if encrypted else "replies.sqlite")

    def _kept(self, encrypted: bool) -> Path:
        return self.path / "sealed" if encrypted else self.path


def snapshots_beside(contexts: Path) -> Path:
    """Return the folder of snapshots that belongs to a folder of contexts, wherever the caller has that."""
    return contexts.parent / "snapshots"


def locks_beside(database: Path) -> Path:
    """Return the folder of the locks on runs that belongs to a database in a file."""
    return database.with_name(f"{database.name}.locks")
