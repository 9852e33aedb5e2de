"""`rlm-graph trust`: let the settings of a folder run, load and send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlm_graph.cli.printing import put, say


def trust(
    folder: Annotated[Path, typer.Argument(help="The folder whose rlm.toml and pyproject.toml are meant.")] = Path(),
    remove: Annotated[bool, typer.Option("--remove", help="Trust the folder no longer.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the files that are trusted.")] = False,
) -> None:
    """Let the settings files of a folder have every setting, as they are now.

    Without that, settings of ./rlm.toml and ./pyproject.toml that start programs, load or send something, or allow
    code more, do not count: whoever made the folder has written them. A file that changes is trusted no longer.
    """
    from rlm_graph.errors import InputError
    from rlm_graph.settings import trusted
    from rlm_graph.settings.sources import settings_files

    if list_all:
        for name, hashed in sorted(trusted.listed().items()):
            changed = "" if _hash(Path(name)) == hashed else "  (changed or gone: trusted no longer)"
            put(f"{name}{changed}")
        return
    files = settings_files(folder)
    if remove:
        was = trusted.forget(files)
        say(f"{folder.resolve()} is trusted no longer" if was else f"{folder.resolve()} was not trusted")
        return
    hashes = {file: _hash(file) for file in files}
    found = {file: hashed for file, hashed in hashes.items() if hashed is not None}
    if not found:
        raise InputError(f"{folder}: has neither {' nor '.join(file.name for file in files)}")
    trusted.trust(found)
    for file in found:
        say(f"trusted, until it changes: {file.resolve()}")


def _hash(file: Path) -> str | None:
    from rlm_graph.errors import InputError
    from rlm_graph.settings.trusted import digest

    try:
        return digest(file.read_bytes()) if file.is_file() else None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
