"""The Pyodide runtime: one version, known by its hashes, fetched once into the user's data folder."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rlm_graph.errors import Hint, SetupError

VERSION = "314.0.7"
INTEGRITY = "sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
"""Of the package `pyodide` of that version, as npm writes it."""
FILES = {
    "pyodide.mjs": "6f1d60f7bf529beb300f0f47983c921d3982363640ba20af0e38efdddbc66109",
    "pyodide.asm.mjs": "f7cdc8ece80678ceb712f8e65ebe6d3a83203a180c399865f49612a051693635",
    "pyodide.asm.wasm": "cc36e3cab04fdfc9a63ff13eb52eae2b911bf46c025cc7b281f394bd3de1d5e6",
    "python_stdlib.zip": "fa1957e5777068fc4f7437f96d860ae2fbe9c19732ba06c84e004ec16dd7dd7a",
}
"""What of it is used, each with its SHA-256."""
FOLDER = f"pyodide-{VERSION}"
MAX_BYTES = 64 << 20
"""Of the package, and of any file in it."""
NPM_TIMEOUT_S = 600.0


def installed(store: Path) -> Path:
    """Return the folder with the runtime's files in `store`. Raises `SetupError` if they are not there, or altered."""
    folder = (store / FOLDER).resolve()
    try:
        stamps = tuple((name, (folder / name).stat().st_mtime_ns) for name in FILES)
        _check_once(folder, stamps)
    except FileNotFoundError:
        raise SetupError("the Pyodide runtime is not there", hint=Hint("fetch_pyodide")) from None
    except OSError as error:
        raise SetupError(f"the Pyodide runtime in {folder} cannot be read: {error.strerror}") from error
    return folder


def fetch(store: Path, source: str | None = None) -> Path:
    """Put the runtime into `store` and return its folder. If it is there already, nothing is done.

    It comes from the `npm` client, or from `source`: the package's file, its address, or the folder it was unpacked to.
    Raises `SetupError` if it cannot be had or is not the one that is known.
    """
    with contextlib.suppress(SetupError):
        return installed(store)
    if source is None:
        files = _unpacked(_from_npm())
    elif source.startswith(("http://", "https://")):
        files = _unpacked(_downloaded(source))
    else:
        files = _from_path(Path(source))
    for name, content in files.items():
        _check(name, content)
    return _stored(store, files)


@functools.lru_cache(maxsize=8)
def _check_once(folder: Path, stamps: tuple[tuple[str, int], ...]) -> None:
    for name, _ in stamps:
        _check(name, (folder / name).read_bytes())


def _check(name: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != FILES[name]:
        raise SetupError(f"{name} is not that of Pyodide {VERSION}: its hash differs", hint=Hint("fetch_pyodide"))


def _from_npm() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError(
            f"there is no npm here to fetch Pyodide {VERSION} with; elsewhere, npm pack pyodide@{VERSION} makes the "
            "package's file",
            hint=Hint("bring_pyodide"),
        )
    with tempfile.TemporaryDirectory(prefix="rlm-graph-pyodide-") as folder:
        command = [
            npm,
            "pack",
            f"pyodide@{VERSION}",
            "--loglevel=error",
            "--ignore-scripts",
            "--pack-destination",
            folder,
        ]
        try:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=NPM_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise SetupError(f"npm did not fetch Pyodide within {NPM_TIMEOUT_S:g} s; try again") from None
        if done.returncode:
            words = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("npm ")]
            raise SetupError(f"npm could not fetch Pyodide: {' '.join(words[:3]) or f'exit code {done.returncode}'}")
        (package,) = Path(folder).glob("*.tgz")
        return package.read_bytes()


def _downloaded(address: str) -> bytes:
    import httpx

    content = bytearray()
    try:
        with httpx.stream("GET", address, follow_redirects=True, timeout=60) as reply:
            reply.raise_for_status()
            for part in reply.iter_bytes():
                content += part
                if len(content) > MAX_BYTES:
                    raise SetupError(f"what lies at {address} is longer than any package of Pyodide")
    except httpx.HTTPError as error:
        raise SetupError(f"{address} cannot be fetched: {error}") from error
    return bytes(content)


def _from_path(path: Path) -> Mapping[str, bytes]:
    try:
        if not path.is_dir():
            return _unpacked(path.read_bytes())
        folder = path / "package" if (path / "package").is_dir() else path
        return {name: (folder / name).read_bytes() for name in FILES}
    except OSError as error:
        raise SetupError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _unpacked(package: bytes) -> Mapping[str, bytes]:
    """Return the files that are used, out of a package whose hash is the known one."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
    if found != INTEGRITY:
        raise SetupError(f"this is not the package of Pyodide {VERSION}: its hash differs")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        for name in FILES:
            member = archive.extractfile(f"package/{name}")
            assert member is not None, "the hash says that it is there"
            files[name] = member.read(MAX_BYTES)
    return files


def _stored(store: Path, files: Mapping[str, bytes]) -> Path:
    """Put the files into their folder, whole or not at all."""
    folder = store / FOLDER
    coming = store / f".{FOLDER}-{secrets.token_hex(8)}"
    try:
        coming.mkdir(parents=True)
        for name, content in files.items():
            (coming / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)  # what is there was found to be wanting
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            os.rename(coming, folder)
    except OSError as error:
        raise SetupError(f"the Pyodide runtime cannot be written to {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    return installed(store)
