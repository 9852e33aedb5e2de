"""A sandbox of the double: a folder, and real processes that begin in it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import stat
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rlm_graph.executors.sandbox.supervisor.removal import remove_tree

READ_BYTES = 1 << 15
UNREAD_EVENTS = 64

Event = dict[str, Any]


class Process:
    """A command, with those who listen to it. What it prints while nobody does is lost."""

    def __init__(self, process: asyncio.subprocess.Process, config: dict[str, Any], timeout_s: float | None) -> None:
        self.process = process
        self.config = config
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._carrying = asyncio.create_task(self._carry())
        self._ending = asyncio.get_running_loop().call_later(timeout_s, self.kill) if timeout_s else None

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on, and its end."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(UNREAD_EVENTS)
        self._listeners.add(queue)
        try:
            yield {"start": {"pid": self.pid}}
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)
            while not queue.empty():  # whoever waits for room in it must not wait for ever
                queue.get_nowait()

    async def _carry(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        streams = {"stdout": self.process.stdout, "stderr": self.process.stderr}
        await asyncio.gather(*(self._pump(name, stream) for name, stream in streams.items()))
        status = await self.process.wait()
        if self._ending is not None:
            self._ending.cancel()
        end = {"exitCode": max(status, -1), "exited": status >= 0, "status": f"exit status {status}"}
        await self._tell({"end": end})
        await self._tell(None)

    async def _pump(self, name: str, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(READ_BYTES):
            await self._tell({"data": {name: base64.b64encode(data).decode()}})

    async def _tell(self, event: Event | None) -> None:
        for queue in list(self._listeners):
            await queue.put(event)


class Sandbox:
    """What the API says of it, its folder and its processes."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.id = f"i{secrets.token_hex(9)}"
        self.token = secrets.token_hex(16)
        self.asked = asked
        self.paused = False
        self.paused_times = 0
        self.started_at = datetime.now(UTC)
        self.end_at = self.started_at
        self.processes: dict[int, Process] = {}
        self.root = Path(tempfile.mkdtemp(prefix="e2b-"))
        self.root.chmod(0o755)  # the worker's user must be able to reach its scratch folder
        for name, mode in (("home", 0o755), ("bin", 0o755), ("tmp", 0o1777)):
            (self.root / name).mkdir()
            (self.root / name).chmod(mode)
        python = self.root / "bin" / "python3"
        python.write_text(f"#!/bin/sh\n{_start_of_python(asked['templateID'])}\n")
        python.chmod(0o755)
        # A login shell sets a path of its own before it reads this.
        (self.root / "home" / ".bash_profile").write_text(f'PATH="{self.root / "bin"}:$PATH"\n')

    def told(self) -> dict[str, Any]:
        """Return what the API says of it."""
        return {
            "templateID": self.asked["templateID"], "sandboxID": self.id, "clientID": "double", "envdVersion": "0.6.8",
            "startedAt": self.started_at.isoformat(), "endAt": self.end_at.isoformat(), "cpuCount": 2,
            "memoryMB": 1024, "diskSizeMB": 1024, "state": "paused" if self.paused else "running",
            "metadata": self.asked.get("metadata", {}),
        }  # fmt: skip

    def created(self) -> dict[str, Any]:
        """Return what the API says to those who may use it."""
        keys = ("templateID", "sandboxID", "clientID", "envdVersion")
        return {key: self.told()[key] for key in keys} | {"envdAccessToken": self.token}

    def run_for(self, seconds: float) -> None:
        """Set its time."""
        self.end_at = datetime.now(UTC) + timedelta(seconds=seconds)

    async def start(self, config: dict[str, Any], *, user: str, stdin: bool, timeout_s: float | None) -> Process:
        """Start a command as `user`; only a process of root's can become another user."""
        process = await asyncio.create_subprocess_exec(
            config["cmd"], *config.get("args", ()),
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=config.get("cwd", self.root / "home"), start_new_session=True,
            user=1000 if user != "root" and os.geteuid() == 0 else None,
            env={
                "HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp"), "USER": user, "E2B_SANDBOX": "true",
                "SECRET_OF_THE_TEMPLATE": "a template may have one", "PATH": os.defpath,
                **self.asked.get("envVars", {}), **config.get("envs", {}),
            },
        )  # fmt: skip
        return self.processes.setdefault(process.pid, Process(process, config, timeout_s))

    def path(self, path: str) -> Path:
        """Return where a file lies, which must be in the sandbox."""
        resolved = (self.root / "home" / path).resolve()
        if not resolved.is_relative_to(self.root):
            raise PermissionError(path)
        return resolved

    def living(self) -> list[int]:
        """Return its processes: those of the sessions that were begun in it."""
        return [pid for pid, session in _sessions() if session in self.processes]

    def signal_all(self, number: int) -> None:
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def memory_used(self) -> int:
        """Return the bytes that its processes have in memory."""
        pages = 0
        for pid in self.living():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def end(self) -> None:
        """End all its processes and remove its folder."""
        while self.living():
            self.signal_all(signal.SIGKILL)
            await asyncio.sleep(0.005)
        await asyncio.to_thread(remove_tree, str(self.root))


def _sessions() -> list[tuple[int, int]]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, session = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:4]
                if state != "Z":
                    found.append((int(entry), int(session)))
    return found


def _start_of_python(template: str) -> str:
    if template == "bare":
        return "echo 'python3: not here' >&2; exit 127"
    if template == "old":
        return f'exec {_python()} {Path(__file__).with_name("without_landlock.py")} {_python()} "$@"'
    return f'exec {_python()} "$@"'


def _python() -> str:
    """Return a Python that every user can run: this one may lie in the folder of one user."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    if os.geteuid() != 0 or all(folder.stat().st_mode & stat.S_IXOTH for folder in library.parents):
        return sys.executable
    return next(path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if os.path.exists(path))
