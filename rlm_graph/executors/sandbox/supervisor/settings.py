"""The settings of a supervisor: what the owner decides about one REPL. They come as one JSON object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple


class SupervisorSettings(NamedTuple):
    """What the owner decides about one REPL."""

    folder: str
    """Holds the socket and the scratch folder; removed in the end."""
    version: str
    confined: bool = True
    memory_bytes: int = 4 << 30
    max_file_bytes: int = 256 << 20
    max_threads: int = 64
    max_output_bytes: int = 1 << 20
    idle_timeout_s: float = 900.0
    packages: Sequence[str] = ()
    """Folders of installed packages that cells may import, besides the standard library."""
    user: int | None = None
    """User and group that the worker becomes. Set where the supervisor is root of a container of its own, which then
    bounds memory and threads and tells what was used; confinement goes as far there as the kernel has it."""
    scratch_folder: str | None = None
    """The scratch folder, where it does not lie in `folder`; it belongs to `user`."""
    sent_folder: str | None = None
    """Where texts are kept that code sends beside its calls; by default in `folder`, which may be small elsewhere."""
    network: bool = False
    """Let code use the network that there is."""
    bash: bool = False
    """Run cells in the shell's language, and let code start programs."""
    program: Sequence[str] = ()
    """A program, by its path and arguments, that runs Python in the worker's place: see `program.py`."""
    program_files: Sequence[str] = ()
    """Files and folders that the program reads."""

    @property
    def socket(self) -> str:
        """Where the supervisor listens."""
        return os.path.join(self.folder, "control.sock")

    @property
    def scratch(self) -> str:
        """The worker's current folder, and the only one it may write to."""
        return self.scratch_folder or os.path.join(self.folder, "scratch")
