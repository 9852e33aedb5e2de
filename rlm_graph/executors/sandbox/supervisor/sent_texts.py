"""Texts that code sends beside a call: kept in a file of the sandbox's own until the call is answered."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from typing import IO, Any

from rlm_graph.executors.sandbox.frames import MAX_DEPTH
from rlm_graph.executors.sandbox.worker.handing import MAX_TEXTS

SLICE_BYTES = 4 << 20
"""That the owner is given at once."""


_PLACES = range(1 << 62)


def are_texts(told: Any) -> bool:
    """Whether that is what a call says of texts that it names, in the form that the owner reads."""
    return isinstance(told, list) and 0 < len(told) <= MAX_TEXTS and all(map(_is_text, told))


def _is_text(told: Any) -> bool:
    if not isinstance(told, dict) or not told.keys() >= {"path", "context", "part", "start", "bytes", "chars"}:
        return False
    path = told["path"]
    return (
        isinstance(path, list)
        and 0 < len(path) <= MAX_DEPTH + 1
        and all(isinstance(step, str) or _is_place(step) for step in path)
        and (told["part"] is None or _is_place(told["part"]))
        and all(_is_place(told[key]) for key in ("context", "start", "bytes", "chars"))
    )


def _is_place(told: Any) -> bool:
    return type(told) is int and told in _PLACES


class SentTexts:
    """What goes beside one call, in a file without a name in the supervisor's folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self.size = 0
        self.failure: str | None = None
        """Why it could not be kept."""

    @property
    def digest(self) -> str:
        """The SHA-256 of all that has come."""
        return self._digest.hexdigest()

    def add(self, data: bytes) -> None:
        """Append what has come."""
        self._digest.update(data)
        self.size += len(data)
        if self.failure is not None:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  # see `close`
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self.failure = f"a text of it cannot be kept in the sandbox: {error.strerror or error}"
            self.close()

    def slice(self, start: int) -> str:
        """Return some bytes from `start` on, in base64."""
        if self._file is None:
            return ""
        self._file.seek(start)
        return base64.b64encode(self._file.read(SLICE_BYTES)).decode()

    def close(self) -> None:
        """Give the room back."""
        if self._file is not None:
            self._file.close()
        self._file = None
