"""The files of a folder that belong to a context."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from rlm_graph.context.ignoring import Ignored
from rlm_graph.context.notes import Notes

MADE_FOLDERS = frozenset({
    "__pycache__", "__pypackages__", "CVS", "bower_components", "build", "dist", "node_modules", "target",
})  # fmt: skip
"""Left out as what tools have made, with environments of Python. All that begins with a dot is left out anyway, such as
`.git` and `.venv`."""
ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")
ALL = "contexts.ignore = false takes it"


def text_files(
    folder: Path, notes: Notes, *, ignore: bool = True, wanted: Callable[[str], bool] = lambda name: True
) -> list[str]:
    """Return the paths of regular files below `folder`, from it, with `/`, in the order of their names.

    Hidden files and folders, links to folders and links that lead out of the folder are left out and noted; with
    `ignore`, also what the rules of a git repository name, and folders of builds, environments and caches. `wanted`
    tells by its path from `folder` whether a file or folder that is left out is worth a note, and a file worth
    returning. Nothing is opened yet: a pipe among the files would block.
    """
    found: list[str] = []
    root = Path(os.path.realpath(folder))
    ignored = Ignored(Path(os.path.abspath(folder))) if ignore else None

    def failed(error: OSError) -> None:
        notes.add(f"left out because it cannot be read ({error.strerror})", _relative(Path(error.filename), folder))

    for place, folders, files in os.walk(os.path.abspath(folder), onerror=failed):
        here = Path(place)
        if ignored is not None:
            ignored.enter(here)
        kept = []
        for name, is_folder in sorted([*((name, True) for name in folders), *((name, False) for name in files)]):
            path = here / name
            relative = _relative(path, folder)
            remark = _objection(path, root, ignored, is_folder=is_folder)
            if remark is not None and wanted(relative):
                notes.add(remark, relative)
            elif remark is None and is_folder:
                kept.append(name)
            elif remark is None and wanted(relative):
                found.append(relative)
        folders[:] = kept
    return sorted(found)


def _objection(path: Path, root: Path, ignored: Ignored | None, *, is_folder: bool) -> str | None:
    """Say why a file or folder is left out, if it is."""
    if path.name.startswith("."):
        return "left out because it is hidden"
    try:
        if path.is_symlink():
            if is_folder:
                return "left out because it is a link to a folder"
            if not Path(os.path.realpath(path)).is_relative_to(root):
                return "left out because it is a link that leads out of the folder"
        if not is_folder and not stat.S_ISREG(path.stat().st_mode):
            return "left out because it is no regular file"
        if ignored is None:
            return None
        if is_folder and (path.name in MADE_FOLDERS or any((path / mark).exists() for mark in ENVIRONMENT_MARKS)):
            return f"left out because it belongs to a build, an environment or a cache ({ALL})"
    except OSError as error:
        return f"left out because it cannot be read ({error.strerror})"
    if ignored.leaves_out(path, is_folder=is_folder):
        return f"left out because git ignores it ({ALL})"
    return None


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(os.path.abspath(folder)).as_posix()
