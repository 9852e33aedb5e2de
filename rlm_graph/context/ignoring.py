"""What a repository of git leaves out: its `.gitignore` files and `.git/info/exclude`."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

NAME = ".gitignore"
MAX_BYTES = 1 << 20
_MANY_STARS = re.compile(r"(?:\*+[^*/]+){6}\*")
"""A pattern that could take years to match a name that was made for it. Nobody's own has as many."""


class Ignored:
    """The rules that hold in one folder of a repository, and below it.

    As with git, a rule of a deeper `.gitignore` counts more, and the last one of a file that matches. A folder that is
    itself left out by rules above it was named on purpose: then those rules do not count.
    """

    def __init__(self, folder: Path) -> None:
        """Read the rules above `folder`, if it is in a repository; those in it are read by `enter`."""
        self._rules: dict[Path, list[GitIgnoreSpec]] = {}
        self._root = _repository(folder)
        if self._root is None:
            return
        self._add(self._root, _git_folder(self._root) / "info" / "exclude")
        above = [parent for parent in (folder, *folder.parents) if parent.is_relative_to(self._root)]
        for place in reversed(above[1:]):
            self.enter(place)
        if any(self.leaves_out(place, is_folder=True) for place in above[:-1]):
            self._rules.clear()

    def enter(self, place: Path) -> None:
        """Read the rules that stand in a folder."""
        if self._root is not None:
            self._add(place, place / NAME)

    def leaves_out(self, path: Path, *, is_folder: bool) -> bool:
        """Tell whether the rules leave out a file or folder, of which no folder above is left out."""
        for place in path.parents if self._rules else ():
            for rules in reversed(self._rules.get(place, ())):
                verdict = rules.check_file(path.relative_to(place).as_posix() + "/" * is_folder).include
                if verdict is not None:
                    return verdict
            if place == self._root:
                break
        return False

    def _add(self, place: Path, file: Path) -> None:
        from pathspec import GitIgnoreSpec

        if lines := _lines(file):
            self._rules.setdefault(place, []).append(GitIgnoreSpec.from_lines(lines))


def _repository(folder: Path) -> Path | None:
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place / ".git")), None)


def _git_folder(root: Path) -> Path:
    """Return where the repository keeps its own files: elsewhere for a submodule or a further work tree."""
    place = root / ".git"
    if place.is_dir():
        return place
    place = root / _pointer(place).removeprefix("gitdir:").strip()
    return place / (_pointer(place / "commondir") or ".")


def _pointer(file: Path) -> str:
    data = _read(file).decode("utf-8", "surrogateescape")
    return data.strip().replace("\0", "")


def _lines(file: Path) -> list[str]:
    from pathspec import GitIgnoreSpec

    lines = []
    for line in _read(file).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").splitlines():
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:  # git passes over what is no pattern, such as a lone `!`
            continue
        if not _MANY_STARS.search(line):
            lines.append(line)
    return lines


def _read(file: Path) -> bytes:
    """Return a regular file; git follows no link here either."""
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            return b""
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES)
    except (OSError, ValueError):
        return b""
