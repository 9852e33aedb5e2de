"""`rlm-graph pyodide fetch`, as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlm_graph.executors.pyodide.runtime import FILES, FOLDER

pytestmark = pytest.mark.pyodide


def fetch(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it where no program is found: neither npm nor anything else can fetch."""
    return subprocess.run(
        [sys.executable, "-m", "rlm_graph", "pyodide", "fetch", *arguments],
        env={**os.environ, "XDG_DATA_HOME": str(data), "PATH": ""}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_what_was_brought_is_made_ready_once_and_used_offline(tmp_path: Path, pyodide_store: Path) -> None:
    folder = tmp_path / "rlm-graph" / "pyodide" / FOLDER

    missing = fetch(tmp_path)
    brought = fetch(tmp_path, "--from", str(pyodide_store / FOLDER))
    made = {path: path.stat().st_ino for path in folder.parent.rglob("*")}
    again = fetch(tmp_path)

    assert missing.returncode != 0
    assert "--from FILE" in missing.stderr
    assert [(run.returncode, run.stdout) for run in (brought, again)] == [(0, f"{folder}\n")] * 2, brought.stderr
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert {path: path.stat().st_ino for path in folder.parent.rglob("*")} == made
