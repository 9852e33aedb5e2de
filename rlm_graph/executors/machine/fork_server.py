"""This process's end of the fork server, from which the supervisors on this machine are forked."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlm_graph.executors.host.bundle import bundle, file_name
from rlm_graph.executors.machine.interpreter import interpreter

ANSWER_TIMEOUT_S = 30.0
END_TIMEOUT_S = 10.0


class ForkServer:
    """Starts supervisors. An interpreter is started for the first of them; each is a fork, which takes far less.

    Threads may share it: their supervisors are started one after another. A process that is forked from this one gets a
    fork server of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._hooked = False

    @property
    def pid(self) -> int | None:
        """Its process id, once there is one."""
        return None if self._process is None else self._process.pid

    def start(self, settings: Mapping[str, object]) -> dict[str, Any]:
        """Start a supervisor; return `{}` when it listens, else `missing` or `error`, as `supervise` tells. Blocks.

        If the fork server was ended from outside, another takes its place.
        """
        request = json.dumps(settings).encode() + b"\n"
        with self._lock:
            answer = None if self._process is None else self._process.ask(request)
            if answer is None:
                self._end()
                answer = self._begin(Path(str(settings["folder"]), file_name())).ask(request)
            return {"error": self._end()} if answer is None else answer

    def warm_up(self) -> None:
        """Start the interpreter in a thread of its own, if there is none yet: the first supervisor then comes sooner.

        What goes wrong goes wrong again when a supervisor is asked for, and is told then.
        """

        def begin() -> None:
            with self._lock, contextlib.suppress(OSError):
                if self._process is None:
                    bundle()  # made before its file, so that the file is there for as short as can be
                    file, archive = tempfile.mkstemp(prefix="rlm-graph-start-", suffix=".pyz")
                    os.close(file)
                    try:
                        self._begin(Path(archive))
                    finally:
                        Path(archive).unlink(missing_ok=True)

        threading.Thread(target=begin, name="rlm-graph-fork-server", daemon=True).start()

    def close(self) -> None:
        """End it. The supervisors go on."""
        with self._lock:
            self._end()

    def _begin(self, archive: Path) -> _Process:
        if not self._hooked:
            self._hooked = True
            atexit.register(self.close)
            os.register_at_fork(after_in_child=self._leave_to_parent)
        self._process = process = _Process(archive)
        return process

    def _end(self) -> str:
        process, self._process = self._process, None
        return "" if process is None else process.end()

    def _leave_to_parent(self) -> None:
        process, self._process = self._process, None
        self._lock = threading.Lock()  # a thread that is not here may have held the other
        if process is not None:
            process.disown()


FORK_SERVER = ForkServer()


class _Process:
    """A process that serves forks, and the pipes to it. When they are closed, however that comes, it ends."""

    def __init__(self, archive: Path) -> None:
        """`archive` is where the program lies until it is read. It removes that itself: this process may be killed."""
        archive.write_bytes(bundle())
        self._popen = subprocess.Popen(
            # Without `site`: the start files of this machine's packages do not run there.
            [interpreter(), "-S", "-s", "-X", "utf8", archive, "fork-server"],
            # Nothing of this process's environment goes in. The order of sets is fixed so that a replay is faithful.
            env={"PYTHONHASHSEED": "0"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # nothing is left in this process that a fork of it could send too
            start_new_session=True,
        )
        self._answer()  # it has read all of the archive, or ended
        archive.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def ask(self, request: bytes) -> dict[str, Any] | None:
        """Send a request and return the answer; None if the process has ended."""
        assert self._popen.stdin is not None
        try:
            while request:
                request = request[self._popen.stdin.write(request) :]
        except BrokenPipeError:
            return None
        return self._answer()

    def end(self) -> str:
        """Have it end, wait until it has, and return its last words."""
        try:
            _, errors = self._popen.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            _, errors = self._popen.communicate()
        lines = errors.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"its process ended with {self._popen.returncode}"

    def disown(self) -> None:
        """Give it up, in a process whose child it is not."""
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        self._popen.returncode = 0  # there is nothing to wait for

    def _answer(self) -> dict[str, Any] | None:
        assert self._popen.stdout is not None
        answers = select.poll()
        answers.register(self._popen.stdout, select.POLLIN)
        if not answers.poll(ANSWER_TIMEOUT_S * 1000):
            self._popen.kill()
            return {"error": f"no answer within {ANSWER_TIMEOUT_S:g} s"}
        line = self._popen.stdout.readline()
        answer: dict[str, Any] | None = json.loads(line) if line else None
        return answer
