"""The worker as one file, on every Python that this machine has."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from rlm_graph.executors.host.bundle import bundle, file_name, version


def pythons() -> list[str]:
    """Interpreters from 3.9 on, this one first. Without others only this one is tried."""
    found = [sys.executable]
    for minor in range(9, 16):
        command = shutil.which(f"python3.{minor}")
        probe = [command, "-c", "import ctypes, sys; print(sys.executable)"] if command else ["false"]
        told = subprocess.run(probe, capture_output=True, text=True, check=False)
        if told.returncode == 0:
            found.append(told.stdout.strip())
    return list(dict.fromkeys(found))


def test_the_name_tells_the_version_and_the_archive_is_the_same_each_time() -> None:
    names = zipfile.ZipFile(BytesIO(bundle())).namelist()

    assert file_name() == f"worker-{version()}.pyz"
    assert len(version()) == 16
    assert bundle() == bundle()
    assert "__main__.py" in names
    assert "rlm_graph/executors/sandbox/supervisor/supervisor.py" in names
    assert not any("test" in name or "local" in name for name in names)


@pytest.mark.parametrize("python", pythons())
def test_the_bundle_runs_a_cell_with_a_fixed_hash_seed_however_it_is_started(python: str, tmp_path: Path) -> None:
    archive = tmp_path / file_name()
    archive.write_bytes(bundle())
    folder = tmp_path / "repl"
    folder.mkdir(mode=0o700)
    settings = json.dumps({"folder": str(folder), "version": version(), "confined": False})
    code = "import sys\nawait __import__('asyncio').sleep(0)\nprint(sys.flags.hash_randomization, ctx)\nf'{1/4}'"
    request = {
        "op": "exec",
        "re": 1,
        "cell": 1,
        "code": code,
        "language": "python",
        "timeout": 30,
        "seed": 1,
        "started_at": None,
    }

    subprocess.run([python, str(archive), "supervise", settings], env={"PATH": os.defpath}, check=True, timeout=60)
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as lines:
        sock.connect(str(folder / "control.sock"))
        sock.sendall(json.dumps(request).encode() + b"\n")
        done = json.loads(lines.readline())
        sock.sendall(b'{"op": "close"}\n')
        assert lines.readline() == b""

    assert done["error"] is None
    assert done["stdout"] == "0 <ctx: nothing, 0 characters>\n"
    assert done["value"] == "'0.25'"
    assert not folder.exists()
