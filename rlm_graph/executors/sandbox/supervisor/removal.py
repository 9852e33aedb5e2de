"""Removing what code has left in a scratch folder, whatever shape it has."""

from __future__ import annotations

import contextlib
import os
import secrets

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a folder and all that is in it; what the system refuses to remove stays. Follows no link.

    Takes no recursion, and two descriptors at a time: code can nest folders deeper than `shutil.rmtree` or a path can
    follow, and close folders to their owner. Nothing may be at work in the folder any more.
    """
    try:
        top = os.open(path, _FOLDER)
    except OSError:  # it is gone, or no folder
        return
    try:
        while _lift(top):
            pass
    finally:
        os.close(top)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _lift(top: int) -> bool:
    """Remove the files of a folder, and its folders after moving what folders they hold up into it.

    Tells whether anything was done, and so whether there may be more.
    """
    done = False
    for name, is_folder in _entries(top):
        with contextlib.suppress(OSError):
            if is_folder:
                _empty(top, name)
                os.rmdir(name, dir_fd=top)
            else:
                os.unlink(name, dir_fd=top)
            done = True
    return done


def _empty(top: int, name: str) -> None:
    os.chmod(name, 0o700, dir_fd=top)
    folder = os.open(name, _FOLDER, dir_fd=top)
    try:
        for inner, is_folder in _entries(folder):
            with contextlib.suppress(OSError):
                if is_folder:
                    os.chmod(inner, 0o700, dir_fd=folder)  # moving a folder writes to it
                    os.rename(inner, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
                else:
                    os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)


def _entries(folder: int) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
