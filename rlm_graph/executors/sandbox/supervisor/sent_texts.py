"""Texts that code sends beside a call: kept in a file of the sandbox's own until the call is answered."""

from __future__ import annotations

import base64
import hashlib
import tempfile

SLICE_BYTES = 4 << 20
"""That the owner is given at once."""


class SentTexts:
    """What goes beside one call, in a file without a name in the supervisor's folder."""

    def __init__(self, folder: str) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by `close`
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of all of it."""
        return self._digest.hexdigest()

    def add(self, data: bytes) -> None:
        """Append what has come. Raises `OSError` where there is no room."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def slice(self, start: int) -> str:
        """Return some bytes from `start` on, in base64."""
        self._file.seek(start)
        return base64.b64encode(self._file.read(SLICE_BYTES)).decode()

    def close(self) -> None:
        """Give the room back."""
        self._file.close()
