"""Attacks on REPLs in sandboxes of E2B's, for which the double of its cloud stands in.

Its sandboxes are processes of this machine and share its kernel and its files, as those of the cloud share nothing: so
the attacks meet what supervisor and worker do, and that alone. What a virtual machine adds is not seen here.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from pathlib import Path

from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.settings import E2BSettings
from rlm_graph.state import ReplHandle
from tests.escapes.targets import Targets
from tests.executors.e2b_double.server import KEY, E2BDouble

FILES = "it may read what any user may: in the cloud the files of the template, with which it is alone"
WRITES = "it may write where any user may: in the cloud in the sandbox, with which it ends"
PROCESSES = "it may see the processes of the system: in the cloud those of its own sandbox"

OF_THE_MACHINE = {
    "read a file outside": FILES,
    "read the file of users": FILES,
    "list a folder outside": FILES,
    "walk up to the root": FILES,
    "read through a symbolic link": FILES,
    "read through a link to a folder": FILES,
    "swap a link between check and use": FILES,
    "go through its own root in /proc": FILES,
    "go through a descriptor of the root": FILES,
    "open again what was opened as a path": FILES,
    "import a module from outside": FILES,
    "attach a database outside": FILES,
    "send a file outside through a socket it holds": FILES,
    "lock a file that others read": FILES,
    "write to shared memory of the machine": WRITES,
    "write where everybody may": WRITES,
    "read another's command line": PROCESSES,
    "read its supervisor in /proc": PROCESSES,
    "read the first process in /proc": PROCESSES,
    "list processes": PROCESSES,
}
"""Attacks that only E2B's virtual machine holds where its kernel has no Landlock, each with what it then reaches."""

BESIDE_PROGRAMS = {
    name: OF_THE_MACHINE[name]
    for name in (
        "read a file outside",
        "read through a symbolic link",
        "read through a link to a folder",
        "swap a link between check and use",
        "go through its own root in /proc",
        "go through a descriptor of the root",
        "open again what was opened as a path",
        "import a module from outside",
        "attach a database outside",
        "send a file outside through a socket it holds",
        "read another's command line",
    )
}
"""Attacks that only the virtual machine holds where cells may be in bash: programs lie anywhere, and must be read."""


class E2BSite:
    """Sandboxes of a double of its own."""

    def __init__(self, folder: Path, targets: Targets, *, template: str = "base", bash: bool = False) -> None:
        # The worker is another user here. What it cannot reach must not be out of reach for want of a mode.
        folder.chmod(0o755)
        os.environ["E2B_API_KEY"] = KEY
        self.lets = bash
        self._targets = targets
        self._double = E2BDouble()
        self._double.__enter__()
        atexit.register(self._double.__exit__)
        self._roots: dict[str, Path] = {}
        url = self._double.url
        settings = E2BSettings(template=template, api_url=url, sandbox_url=url, memory_bytes=512 << 20, bash=bash)
        self.executor = E2BExecutor(settings)

    def places(self, handle: ReplHandle) -> Mapping[str, object]:
        self._roots[handle.address] = self._double.sandboxes[handle.address].root
        home = self._home(handle)
        return {
            "ADDRESS": str(home / "repl" / "control.sock"),
            "SCRATCH": str(home / "scratch"),
            "CONTEXT": str(self._context(handle) / "text"),
        }

    def others(self, handle: ReplHandle) -> Mapping[str, object]:
        return {f"OTHER_{name}": value for name, value in self.places(handle).items() if name != "CONTEXT"}

    def changes(self, handle: ReplHandle) -> list[str]:
        context = self._context(handle)
        if not context.exists():  # it was not given yet
            return []
        found = {path.name: path.read_bytes() for path in context.iterdir()}
        kept = {path.name: path.read_bytes() for path in self._targets.context_folder.iterdir()}
        return [] if found.items() <= kept.items() and "text" in found else ["the context in the sandbox was changed"]

    def left(self, handle: ReplHandle) -> list[str]:
        root = self._roots.pop(handle.address, None)
        if handle.address in self._double.sandboxes:
            self._double.kill(handle.address)
            return ["its sandbox was left"]
        return ["its folder was left"] if root is not None and root.exists() else []

    def _home(self, handle: ReplHandle) -> Path:
        return self._roots[handle.address] / "tmp" / "rlm-graph"

    def _context(self, handle: ReplHandle) -> Path:
        context = self._targets.context
        return self._home(handle) / "contexts" / f"{context.kind}-{context.sha256}"
