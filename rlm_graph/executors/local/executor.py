"""A REPL in a process that gave up its rights, on this machine."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

from rlm_graph.executors.machine.folder import FolderExecutor
from rlm_graph.settings import LocalSettings


class LocalExecutor(FolderExecutor):
    """Starts a supervisor and its worker for each REPL. Neither sees the owner's environment, keys and files."""

    kind = "local"

    def __init__(self, settings: LocalSettings | None = None, *, folder: Path | None = None) -> None:
        super().__init__(folder=folder)
        self._settings = settings or LocalSettings()

    @property
    def cell_timeout_s(self) -> float:
        """Seconds that a cell may compute."""
        return self._settings.cell_timeout_s

    @property
    def declared(self) -> dict[str, str]:
        """Behaviours of the conformance list that it cannot show: none."""
        return {}

    def _supervisor_settings(self, folder: Path) -> dict[str, object]:
        settings = self._settings
        return {
            "folder": str(folder), "version": self.version(), "confined": not settings.unsafe,
            "memory_bytes": settings.memory_bytes, "max_file_bytes": settings.max_file_bytes,
            "max_threads": settings.max_threads, "max_output_bytes": settings.max_output_bytes,
            "idle_timeout_s": settings.idle_timeout_s, "packages": _packages(),
        }  # fmt: skip


def _packages() -> list[str]:
    """Return the folders of packages that are installed beside this interpreter, not those of the user or a project."""
    own = site.getusersitepackages()
    return [entry for entry in sys.path if entry.endswith("-packages") and entry != own and os.path.isdir(entry)]
