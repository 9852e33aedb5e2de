"""The folders that the user has trusted: their settings files, each with the hash of what it said then.

The list lies beside the user's own settings, in `trusted.json`. A file that has changed since is trusted no longer.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from rlm_graph.errors import SetupError

LIST_NAME = "trusted.json"


def user_folder() -> Path:
    """Where the user's own settings lie."""
    import platformdirs

    return Path(platformdirs.user_config_dir("rlm-graph", appauthor=False))


def digest(content: bytes) -> str:
    """Return the hash under which the content of a file is trusted."""
    return sha256(content).hexdigest()


def is_trusted(file: Path, hashed: str) -> bool:
    """Tell whether the user has trusted this file with that content. Raises `SetupError` for a damaged list."""
    return listed().get(_key(file)) == hashed


def listed() -> dict[str, str]:
    """Return the files that are trusted, each with its hash. Raises `SetupError` for a damaged list."""
    path = user_folder() / LIST_NAME
    try:
        files: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SetupError(f"{path}: cannot be read: {error}") from error
    if not isinstance(files, dict):
        raise SetupError(f"{path}: is no list of trusted files; delete it to trust none")
    return files


def trust(files: Mapping[Path, str]) -> None:
    """Trust these files as long as they have these hashes. Raises `SetupError` if that cannot be written down."""
    _write({**listed(), **{_key(file): hashed for file, hashed in files.items()}})


def forget(files: Iterable[Path]) -> bool:
    """Trust these files no longer; tell whether one of them was. Raises `SetupError`."""
    known, keys = listed(), {_key(file) for file in files}
    _write({file: hashed for file, hashed in known.items() if file not in keys})
    return not keys.isdisjoint(known)


def shown(path: Iterable[str], value: object) -> str:
    """Return a setting in one line of ASCII, whatever a stranger has put into it: no terminal obeys it."""
    key = ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in path)
    return f"{key} = {json.dumps(value, default=str)}"


def _key(file: Path) -> str:
    return str(file.parent.resolve() / file.name)


def _write(files: Mapping[str, str]) -> None:
    path = user_folder() / LIST_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=LIST_NAME)
        try:
            with open(handle, "w", encoding="ascii") as file:
                json.dump(dict(sorted(files.items())), file, indent=2)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise SetupError(f"{path}: cannot be written: {error.strerror}") from error
