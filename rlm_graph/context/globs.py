"""A pattern of paths that no shell has expanded."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path, PurePath

from rlm_graph.context.folders import text_files
from rlm_graph.context.notes import Notes
from rlm_graph.errors import InputError


@dataclass(frozen=True)
class Glob:
    """A pattern such as `logs/*.txt` or `**/*.md`: its files, as they are found in a folder.

    What is hidden, ignored or binary is left out, unless the part of the pattern before its first `*` names it.
    """

    pattern: str

    def files(self, notes: Notes, *, ignore: bool) -> list[Path]:
        """Return the files that match, and those of folders that do. Raises `InputError` if there are none."""
        base, rest = self._parts()
        matched = {PurePath(name).as_posix() for name in glob.glob(rest, root_dir=base, recursive=True)}

        def wanted(name: str) -> bool:
            return name in matched or any(parent.as_posix() in matched for parent in PurePath(name).parents)

        found = text_files(base, notes, ignore=ignore, wanted=wanted) if matched else []
        if not found:
            left_out = f" ({'; '.join(notes.lines())})" if notes.lines() else ""
            raise InputError(f"no file matches {self.pattern}{left_out}; check the pattern, or name a file or folder")
        return [base / name for name in found]

    def _parts(self) -> tuple[Path, str]:
        """Return the folder before the first part of the pattern with magic in it, and the pattern from there."""
        parts = PurePath(self.pattern).parts
        plain = next(index for index, part in enumerate(parts) if glob.has_magic(part))
        return Path(os.path.abspath(PurePath(*parts[:plain]))), os.path.join(*parts[plain:])
