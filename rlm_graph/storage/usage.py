"""How much room each part of the data folder takes, with the database of runs wherever that is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rlm_graph.storage.data_folder import DataFolder, locks_beside
from rlm_graph.storage.database import Part
from rlm_graph.storage.opening import usage
from rlm_graph.storage.sqlite import usage as usage_of_file


def usage_of(folder: DataFolder, database: Path | str) -> list[Part]:
    """Return how much room each part takes, with the database of runs wherever that is.

    What else lies in the folder is a part of its own, so that together they are what the folder takes. Nothing is
    written, and no key is needed. Raises `StorageError`.
    """
    parts = usage(database, folder.memory)
    if isinstance(database, Path):
        parts.append(_of_files("locks", locks_beside(database)))
    for encrypted, name in ((False, "{}"), (True, "encrypted {}")):
        parts += [
            _of_folders(name.format("contexts"), folder.contexts(encrypted=encrypted)),
            _of_files(name.format("snapshots"), folder.snapshots(encrypted=encrypted)),
            usage_of_file(name.format("replies"), folder.replies(encrypted=encrypted), "cache"),
        ]
    parts.append(_of_files("pyodide", folder.pyodide))
    known = [Path(part.place) for part in parts]
    others = [file for file in _files(folder.path) if not any(_belongs(file, place) for place in known)]
    return [*parts, Part("other files", str(folder.path), sum(map(_size, others)), len(others))]


def _of_files(part: str, folder: Path) -> Part:
    files = list(_files(folder))
    return Part(part, str(folder), sum(map(_size, files)), len(files))


def _of_folders(part: str, folder: Path) -> Part:
    """Measure a folder in which each entry is a folder; those whose names begin with a dot are drafts."""
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    return Part(part, str(folder), sum(_sizes(_files(folder)).values()), len(entries))


def _sizes(files: Iterable[Path]) -> dict[tuple[int, int], int]:
    """Return the size of each file once: a piece of a context has a link to the text of the whole."""
    sizes = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # it has gone since it was listed
            found = file.lstat()
            sizes[found.st_dev, found.st_ino] = found.st_size
    return sizes


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
