"""The Python that runs beside this process, where this process itself may be another program that has Python in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rlm_graph.errors import SetupError


def interpreter() -> str:
    """Return the Python that starts sandboxes: `sys.executable`, or one of the same installation.

    Under uWSGI and in programs that embed Python, `sys.executable` is the program's own, or empty. Raises `SetupError`
    if there is no Python of this version then.
    """
    if "python" in Path(sys.executable or "").name or "pypy" in Path(sys.executable or "").name:
        return sys.executable
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for prefix in dict.fromkeys((sys.exec_prefix, sys.base_exec_prefix)):
        for name in (f"python{version}", "python3", "python"):
            found = Path(prefix) / "bin" / name
            if os.access(found, os.X_OK):
                return str(found)
    raise SetupError(
        f"sys.executable is {sys.executable!r}, which is no Python, and {sys.exec_prefix}/bin has none; set "
        f"sys.executable to a Python {version} before the first run"
    )
