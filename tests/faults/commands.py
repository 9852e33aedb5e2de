"""Commands in processes of their own, which start in milliseconds: they are forked from `nursery.py`."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.faults.processes import PATIENCE_S, has_stopped, wait_until

ROOT = Path(__file__).resolve().parents[2]


class Host:
    """A command in a process of its own, forked from the nursery."""

    def __init__(self, nursery: Nursery, pid: int, stdout: Path, stderr: Path) -> None:
        self._nursery = nursery
        self._stdout = stdout
        self._stderr = stderr
        self.pid = pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command and all it has started in its process group."""
        os.killpg(self.pid, number)

    def wait_until_stopped(self) -> None:
        """Wait for a SIGSTOP to take hold."""
        wait_until(lambda: has_stopped(self.pid))

    def wait(self) -> int:
        """Wait for its end; return the exit code, or the negative number of the signal that ended it."""
        return self._nursery.status(self.pid)

    @property
    def stdout(self) -> str:
        """The answer, once it has ended."""
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        """What it has said besides."""
        return self._stderr.read_text()


class Nursery:
    """Starts commands fast; see `nursery.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT,
        )  # fmt: skip
        self._ended: dict[int, int] = {}
        self._ready = False

    def start(
        self,
        *args: str,
        folder: Path,
        name: str,
        env: dict[str, str],
        fuse: bool = False,
        module: str = "rlm_graph.cli",
    ) -> Host:
        """Run `main` of the module, by default the command, with `args` for it; its streams go into files of that name
        in `folder`.
        """
        if not self._ready:
            self._ready = self._news()["ready"]
        stdout, stderr = folder / f"{name}.out", folder / f"{name}.err"
        order = {
            "module": module, "args": args, "env": env, "cwd": str(folder), "fuse": str(folder) if fuse else None,
            "stdout": str(stdout), "stderr": str(stderr),
        }  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        while "started" not in (news := self._news()):
            self._ended[news["ended"]] = news["status"]
        return Host(self, news["started"], stdout, stderr)

    def status(self, pid: int) -> int:
        """Wait for the end of a command. One that does not come to an end is killed. Raises `TimeoutError`."""
        while pid not in self._ended:
            if not select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
                os.killpg(pid, signal.SIGKILL)
                raise TimeoutError(f"the command did not end within {PATIENCE_S} s")
            news = self._news()
            self._ended[news["ended"]] = news["status"]
        return self._ended.pop(pid)

    def close(self) -> None:
        """End the nursery."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _news(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # whole: the nursery writes each at once
        if not line:
            raise RuntimeError("the nursery has died")
        news: dict[str, Any] = json.loads(line)
        return news
