"""Files under the folders that a run may read. Paths come from code that nobody has to trust."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rlm_graph.errors import SetupError

MAX_FILES = 100_000
"""Files that one search looks at."""

_KERNELS = ("dev", "proc", "sys")
"""Folders whose files are no files: the environment of this process is among them."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe that nobody writes to would never end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Roots:
    """Folders that may be read, with all that lies beneath them, and nothing else.

    A path is relative to the one folder; with several it begins with a folder's name. Absolute paths do too, if they
    lie in one of them. Symbolic links are followed where they stay inside.

    Raises `SetupError` for a folder that is not there.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders: dict[str, Path] = {}
        for folder in folders:
            if not folder.is_dir():
                raise SetupError(f"tools.roots: {folder} is no folder")
            if folder.resolve() == Path("/") or folder.resolve().parts[1] in _KERNELS:
                raise SetupError(
                    f"tools.roots: {folder} holds what the kernel shows of this process; name another folder"
                )
            name = folder.resolve().name
            while name in self._folders:
                name += "_"
            self._folders[name] = folder.resolve()

    @property
    def names(self) -> Sequence[str]:
        """What paths may begin with: nothing for one folder, else the folders' names."""
        return ("",) if len(self._folders) == 1 else tuple(self._folders)

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Give a descriptor of a regular file.

        Raises `PermissionError` for what lies outside, `FileNotFoundError`, `IsADirectoryError`, or `OSError` for what
        is no file to read.
        """
        root, parts = self._resolved(path)
        if not parts:
            raise IsADirectoryError(f"{path or '.'} is a folder; give a file in it")
        with (
            _held(root) as top,
            _walked(top, parts[:-1], path) as folder,
            _opened_file(parts[-1], folder, path) as file,
        ):
            yield file

    def files(self, path: str = "") -> Iterator[tuple[str, int]]:
        """Yield each regular file at `path` or beneath it, with a descriptor that is good until the next one.

        Hidden files and folders are left out, and symbolic links are not followed. Raises as `opened` does.
        """
        for name in [path] if path else self.names:
            root, parts = self._resolved(name)
            shown = self._shown(root, parts)
            with _held(root) as top:
                if parts and not _is_folder(root.joinpath(*parts)):
                    with self.opened(name) as file:
                        yield shown, file
                    continue
                with _walked(top, parts, name) as folder:
                    yield from _beneath(folder, shown)

    def _resolved(self, path: str) -> tuple[Path, tuple[str, ...]]:
        """Return the folder that holds the path, and the way from there without any link in it."""
        outside = PermissionError(f"{path!r} is outside of what may be read; see tools.roots")
        if "\0" in path:
            raise outside
        for name, root in self._folders.items():
            if os.path.isabs(path):
                target = Path(os.path.realpath(path))
            elif len(self._folders) == 1:
                target = Path(os.path.realpath(root / path))
            else:
                first, _, rest = path.removeprefix("./").partition("/")
                if first != name:
                    continue
                target = Path(os.path.realpath(root / rest))
            if target.is_relative_to(root):
                return root, target.relative_to(root).parts
        if len(self._folders) > 1 and not os.path.isabs(path):
            raise PermissionError(f"{path!r} must begin with one of: {', '.join(self._folders)}")
        raise outside

    def _shown(self, root: Path, parts: Sequence[str]) -> str:
        """Return how the path is told: never where on this machine the folder lies."""
        names = [name for name, folder in self._folders.items() if folder == root] if len(self._folders) > 1 else []
        return "/".join([*names[:1], *parts])


@contextmanager
def _held(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _walked(top: int, parts: Sequence[str], path: str) -> Iterator[int]:
    """Open the folder at the end of the way, step by step: no step may have become a link meanwhile."""
    descriptor = os.dup(top)
    try:
        for part in parts:
            try:
                deeper = os.open(part, _FOLDER, dir_fd=descriptor)
            except OSError as error:
                raise _in_words(error, path) from None
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened_file(name: str, folder: int, path: str) -> Iterator[int]:
    try:
        kind = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(f"{path} is a folder; give a file in it")
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "no regular file")
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except IsADirectoryError:
        raise
    except OSError as error:
        raise _in_words(error, path) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _in_words(OSError(errno.EINVAL, "no regular file"), path)
        yield descriptor
    finally:
        os.close(descriptor)


def _beneath(folder: int, shown: str) -> Iterator[tuple[str, int]]:
    count = 0
    for where, folders, names, descriptor in os.fwalk(".", dir_fd=folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            count += 1
            if count > MAX_FILES:
                raise ValueError(f"there are more than {MAX_FILES:,} files; give a path that leads deeper")
            path = "/".join(part for part in (shown, *Path(where).parts, name) if part)
            with suppress(OSError), _opened_file(name, descriptor, path) as file:
                yield path, file


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _in_words(error: OSError, path: str) -> OSError:
    kind = type(error) if isinstance(error, FileNotFoundError | PermissionError) else OSError
    return kind(f"{path} cannot be read: {error.strerror}")
