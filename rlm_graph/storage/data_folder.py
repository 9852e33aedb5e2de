"""The data folder: what lies where in it, and how much room each part takes.

Whatever is kept beside the database of runs has its place from here. Encrypted things have places of their own: a
folder may have been used with encryption and without.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlm_graph.settings.settings import RUNS_FILE
from rlm_graph.storage.database import Part, usage


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

    def usage(self, database: Path | str) -> list[Part]:
        """Return how much room each part takes, with the database of runs wherever that is.

        What else lies in the folder is a part of its own, so that together they are what the folder takes. Nothing is
        written, and no key is needed. Raises `StorageError`.
        """
        from rlm_graph.storage.sqlite import usage as usage_of_file

        parts = usage(database, self.memory)
        if isinstance(database, Path):
            parts.append(_of_files("locks", locks_beside(database)))
        for encrypted, name in ((False, "{}"), (True, "encrypted {}")):
            parts += [
                _of_folders(name.format("contexts"), self.contexts(encrypted=encrypted)),
                _of_files(name.format("snapshots"), self.snapshots(encrypted=encrypted)),
                usage_of_file(name.format("replies"), self.replies(encrypted=encrypted), "cache"),
            ]
        parts.append(_of_files("pyodide", self.pyodide))
        known = [Path(part.place) for part in parts]
        others = [file for file in _files(self.path) if not any(_belongs(file, place) for place in known)]
        return [*parts, Part("other files", str(self.path), sum(map(_size, others)), len(others))]

    def _kept(self, encrypted: bool) -> Path:
        return self.path / "sealed" if encrypted else self.path


def snapshots_beside(contexts: Path) -> Path:
    """Return the folder of snapshots that belongs to a folder of contexts, wherever the caller has that."""
    return contexts.parent / "snapshots"


def locks_beside(database: Path) -> Path:
    """Return the folder of the locks on runs that belongs to a database in a file."""
    return database.with_name(f"{database.name}.locks")


def _of_files(part: str, folder: Path) -> Part:
    files = list(_files(folder))
    return Part(part, str(folder), sum(map(_size, files)), len(files))


def _of_folders(part: str, folder: Path) -> Part:
    """Measure a folder in which each entry is a folder; those whose names begin with a dot are drafts."""
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    return Part(part, str(folder), sum(map(_size, _files(folder))), len(entries))


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in sorted(names))


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:  # it has gone since it was listed
        return 0


def _belongs(file: Path, place: Path) -> bool:
    """Tell whether a file is that of a part, the log of its database, or lies in its folder."""
    return file in (place, place.with_name(f"{place.name}-wal"), place.with_name(f"{place.name}-shm")) or (
        place in file.parents
    )
