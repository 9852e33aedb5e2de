"""A REPL in WebAssembly: Pyodide, run by Deno, under the same supervisor, with the kernel's confinement around it."""

from __future__ import annotations

from pathlib import Path

from rlm_graph.executors.host import bundle
from rlm_graph.executors.machine.folder import FolderExecutor
from rlm_graph.executors.pyodide.image import image, version
from rlm_graph.settings import PyodideSettings, data_dir
from rlm_graph.storage.data_folder import DataFolder

MAX_THREADS = 64
"""Of Deno itself. Code has one."""

ONE_THREAD = "WebAssembly gives Python one thread: one call waits at a time, and the next is made when it is answered"
NO_ADDRESS = "in WebAssembly the address 0 can be read like any other"
DECLARED = {
    "test_a_dead_interpreter_ends_the_repl_and_not_the_run[crash]": NO_ADDRESS,
    "test_a_dead_interpreter_ends_the_repl_and_not_the_run[close]": "code has no descriptor of the channel to close",
    "test_a_thread_that_never_ends_does_not_hold_up_later_cells": "a thread runs to its end before its cell ends",
    "test_of_several_calls_only_those_without_an_answer_come_again": ONE_THREAD,
    "test_a_thread_goes_on_when_its_own_answer_is_there": ONE_THREAD,
    "test_calls_under_way_are_finished_when_another_raises": ONE_THREAD,
}
"""What it cannot show, and why."""


class PyodideExecutor(FolderExecutor):
    """Starts a supervisor for each REPL, and under it Deno with a Python that was compiled to WebAssembly."""

    kind = "pyodide"
    shared_folder = "rlm-graph-pyodide"

    def __init__(self, settings: PyodideSettings | None = None, *, folder: Path | None = None) -> None:
        super().__init__(folder=folder)
        self._settings = settings or PyodideSettings()

    @property
    def cell_timeout_s(self) -> float:
        """Seconds that a cell may compute."""
        return self._settings.cell_timeout_s

    @property
    def declared(self) -> dict[str, str]:
        """Behaviours of the conformance list that it cannot show, each with the reason."""
        return dict(DECLARED)

    @property
    def store(self) -> Path:
        """The folder that keeps the runtime, and what REPLs start from."""
        return self._settings.store or DataFolder(data_dir()).pyodide

    def _supervisor_settings(self, folder: Path) -> dict[str, object]:
        settings = self._settings
        start = image(self.store)
        return {
            "folder": str(folder), "version": self.version(), "confined": not settings.unsafe,
            "memory_bytes": settings.memory_bytes, "max_threads": MAX_THREADS,
            "max_output_bytes": settings.max_output_bytes, "idle_timeout_s": settings.idle_timeout_s,
            "program": start.command(settings.memory_bytes, settings.max_file_bytes),
            "program_files": [str(start.runtime), str(start.folder)],
        }  # fmt: skip

    def version(self) -> str:
        """See `SupervisedExecutor.version`. What runs in a REPL is the worker's bundle and the runtime under it."""
        return f"{bundle.version()}-{version()}"
