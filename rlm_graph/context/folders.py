"""The files of a folder that belong to a context."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rlm_graph.context.notes import Notes

TOOL_FOLDERS = frozenset({"__pycache__", "node_modules", "CVS"})
"""Left out with all that begins with a dot, such as `.git` and `.venv`."""


def text_files(folder: Path, notes: Notes) -> list[str]:
    """Return the paths of regular files below `folder`, from it, with `/`, in the order of their names.

    Hidden files and folders, those of version control and caches, links to folders and links that lead out of
    the folder are left out and noted. Nothing is opened yet: a pipe among the files would block.
    """
    found: list[str] = []
    root = Path(os.path.realpath(folder))

    def failed(error: OSError) -> None:
        notes.add(f"left out because it cannot be read ({error.strerror})", _relative(Path(error.filename), folder))

    for place, folders, files in os.walk(folder, onerror=failed):
        here = Path(place)
        kept = []
        for name, is_folder in sorted([*((name, True) for name in folders), *((name, False) for name in files)]):
            path = here / name
            remark = _objection(path, root, is_folder=is_folder)
            if remark is not None:
                notes.add(remark, _relative(path, folder))
            elif is_folder:
                kept.append(name)
            else:
                found.append(_relative(path, folder))
        folders[:] = kept
    return sorted(found)


def _objection(path: Path, root: Path, *, is_folder: bool) -> str | None:
    """Say why a file or folder is left out, if it is."""
    if path.name.startswith(".") or (is_folder and path.name in TOOL_FOLDERS):
        return "left out because it is hidden, or belongs to version control or a cache"
    try:
        if path.is_symlink():
            if is_folder:
                return "left out because it is a link to a folder"
            if not Path(os.path.realpath(path)).is_relative_to(root):
                return "left out because it is a link that leads out of the folder"
        if not is_folder and not stat.S_ISREG(path.stat().st_mode):
            return "left out because it is no regular file"
    except OSError as error:
        return f"left out because it cannot be read ({error.strerror})"
    return None


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
