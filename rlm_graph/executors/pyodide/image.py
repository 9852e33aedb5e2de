"""What a REPL starts from: our programs, the sources of the worker, and a snapshot of a Python that has loaded them.

Made once for each version of them, in a folder that is named for their digest.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import os
import secrets
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rlm_graph.errors import Hint, SetupError
from rlm_graph.executors.host.bundle import sources as worker_sources
from rlm_graph.executors.pyodide.runtime import INTEGRITY, installed
from rlm_graph.executors.sandbox.supervisor.program import ENVIRONMENT

PROGRAMS = ("host.mjs", "python.mjs")
INSIDE = ("wasm.py", "inline.py")
PACKAGE = "rlm_graph/executors/pyodide"
ARCHIVE, SNAPSHOT, DIGEST = "worker.zip", "snapshot.bin", "snapshot.sha256"
PAGE_BYTES = 64 << 10
"""Of WebAssembly's memory."""
HEAP_MB = 512
"""Of objects of JavaScript, at most."""
MAKE_TIMEOUT_S = 120.0

_FLAGS = (
    "--no-prompt", "--no-remote", "--no-npm", "--no-config", "--no-lock", "--node-modules-dir=none", "--cached-only",
    "--quiet",
)  # fmt: skip
_DATE = (1980, 1, 1, 0, 0, 0)


class Image(NamedTuple):
    """The two folders that a REPL reads, and nothing else of this machine."""

    runtime: Path
    folder: Path

    def command(self, memory_bytes: int, max_file_bytes: int) -> list[str]:
        """Return the program that runs a REPL, with its arguments."""
        options = {"snapshot": str(self.folder / SNAPSHOT), "maxFileBytes": max_file_bytes}
        return self._command(memory_bytes, options)

    def make_snapshot(self) -> bytes:
        """Start Python from nothing and return its memory. Raises `SetupError` if Deno cannot."""
        command = self._command(1 << 30, {"makeSnapshot": True})
        try:
            with subprocess.Popen(
                command, env=ENVIRONMENT, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True,
            ) as process:  # fmt: skip
                # Its input stays open until it ends: the end of that would end it.
                made, words = _communicate(process)
        except OSError as error:
            raise SetupError(f"Deno cannot be started: {error.strerror}") from error
        if process.returncode or not made:
            told = "".join(filter(str.isprintable, words.decode(errors="replace")))[-300:]
            raise SetupError(f"Deno could not start Python: {told.strip() or f'exit code {process.returncode}'}")
        return made

    def _command(self, memory_bytes: int, options: Mapping[str, object]) -> list[str]:
        limits = f"--wasm-max-mem-pages={memory_bytes // PAGE_BYTES},--max-old-space-size={HEAP_MB}"
        given = {
            "runtime": str(self.runtime), "archive": str(self.folder / ARCHIVE), "snapshot": None,
            "makeSnapshot": False, "maxFileBytes": 0, **options,
        }  # fmt: skip
        return [
            deno(), "run", *_FLAGS, f"--allow-read={self.runtime},{self.folder}",
            f"--v8-flags=--disallow-code-generation-from-strings,{limits}",
            str(self.folder / PROGRAMS[0]), json.dumps(given),
        ]  # fmt: skip


def image(store: Path) -> Image:
    """Return what REPLs start from; the first time, make it, which takes some seconds.

    Raises `SetupError` without Deno or the runtime.
    """
    deno()
    runtime = installed(store)
    folder = (store / f"start-{version()}").resolve()
    if not _is_whole(folder):
        _make(runtime, folder)
    return Image(runtime, folder)


@functools.cache
def version() -> str:
    """Return the digest of what runs in a REPL, 16 hex digits."""
    digest = hashlib.sha256(INTEGRITY.encode())
    for name, content in sorted(_files().items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def deno() -> str:
    """Return the path of Deno: that of the package `deno`, or the one on the PATH. Raises `SetupError`."""
    found = None
    if importlib.util.find_spec("deno"):
        from deno import find_deno_bin  # type: ignore[import-untyped]  # says nothing of its types

        with contextlib.suppress(FileNotFoundError):
            found = find_deno_bin()
    found = found or shutil.which("deno")
    if found is None:
        raise SetupError("there is no Deno", hint=Hint("install", "pyodide"))
    return os.path.realpath(found)


@functools.cache
def _files() -> Mapping[str, bytes]:
    own = Path(__file__).parent
    packed = io.BytesIO()
    inside = {f"{PACKAGE}/__init__.py": b""} | {f"{PACKAGE}/{name}": (own / name).read_bytes() for name in INSIDE}
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, source in {**worker_sources(), **inside}.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), source)
    return {ARCHIVE: packed.getvalue()} | {name: (own / name).read_bytes() for name in PROGRAMS}


def _is_whole(folder: Path) -> bool:
    try:
        digest = (folder / DIGEST).read_text()
        stamp = (folder / SNAPSHOT).stat().st_mtime_ns
        files = {name: (folder / name).read_bytes() for name in _files()}
        return files == _files() and _digest_once(folder / SNAPSHOT, stamp) == digest
    except OSError:
        return False


@functools.lru_cache(maxsize=8)
def _digest_once(path: Path, stamp: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(runtime: Path, folder: Path) -> None:
    """Make the folder, whole or not at all. Several may do so at once: theirs is as good."""
    coming = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
    try:
        coming.mkdir()
        for name, content in _files().items():
            (coming / name).write_bytes(content)
        made = Image(runtime, coming).make_snapshot()
        (coming / SNAPSHOT).write_bytes(made)
        (coming / DIGEST).write_text(hashlib.sha256(made).hexdigest())
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(FileExistsError, OSError):
                os.rename(coming, folder)
    except OSError as error:
        raise SetupError(f"{coming.parent} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(coming, ignore_errors=True)


def _communicate(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    import threading

    assert process.stdout is not None
    assert process.stderr is not None
    words: list[bytes] = []
    errors = process.stderr
    listening = threading.Thread(target=lambda: words.append(errors.read()))
    ending = threading.Timer(MAKE_TIMEOUT_S, process.kill)
    listening.start()
    ending.start()
    made = process.stdout.read()
    listening.join()
    ending.cancel()
    process.wait()
    return made, words[0]
