"""Cells in the language of the shell, for REPLs that may start programs."""

from __future__ import annotations

import contextlib
import os
import signal

SHELLS = ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash", "/bin/sh")


def run_shell(code: str, *, allowed: bool) -> None:
    """Run a script in the current folder, with the cell's own outputs; end with it whatever it left running.

    Raises `CalledProcessError` with the exit code if it is not 0, `RuntimeError` where no shell can run.
    """
    import subprocess

    if not allowed:
        raise RuntimeError("bash cannot run in this REPL: it is not allowed to start programs; write Python instead")
    shell = next(filter(os.path.exists, SHELLS), SHELLS[0])
    try:
        process = subprocess.Popen([shell, "-c", code], stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        raise RuntimeError(f"bash cannot run in this REPL ({error.strerror}); write Python instead") from None
    try:
        status = process.wait()
    finally:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if status:
        raise subprocess.CalledProcessError(status, os.path.basename(shell))
