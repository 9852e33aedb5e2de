"""Processes and what they cost: processor time, memory, and how far they were when they asked a model."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parts.wire import Answering, serving

TICKS_S = os.sysconf("SC_CLK_TCK")
REPLIES = ("Looking.\n```repl\nprint(context[:9])\n```", "```repl\nFINAL('ok')\n```\nFINAL(ok)")
"""`rlms` takes its answer from a line of the reply, the engine from the code."""


@dataclass(frozen=True)
class Cost:
    """What one process took, its children included where it has waited for them."""

    cpu_s: float
    wall_s: float
    memory_mb: float
    """The most that was resident at once."""


@dataclass(frozen=True)
class RunCost(Cost):
    """What a process took that asks a model."""

    first_cpu_s: float
    """Until its first request had come."""
    first_wall_s: float
    exit_s: float
    """From its last reply to its end."""


def process(command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str]) -> Cost:
    """Run a command to its end. Raises `CalledProcessError` if it fails."""
    began = time.perf_counter()
    with _started(command, folder, environment) as running:
        _, status, used = os.wait4(running.pid, 0)
        ended = time.perf_counter()
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, [*map(str, command)])
    return Cost(used.ru_utime + used.ru_stime, ended - began, used.ru_maxrss / 1024)


class Asked:
    """A model that answers everything at once, and notes how far the process was that asked."""

    def __init__(self) -> None:
        self.pid = 0
        self.requests = 0
        self.first: tuple[float, float] | None = None
        self.last_s = 0.0
        self.url = ""

    def process(self, command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str]) -> RunCost:
        """Run a command that asks this model. Raises `CalledProcessError` if it fails."""
        self.first, self.requests = None, 0
        began = time.perf_counter()
        with _started(command, folder, environment) as running:
            self.pid = running.pid
            _, status, used = os.wait4(running.pid, 0)
            ended = time.perf_counter()
            running.returncode = os.waitstatus_to_exitcode(status)
        if running.returncode or self.first is None:
            raise subprocess.CalledProcessError(running.returncode, [*map(str, command)])
        came, cpu_s = self.first
        spent = used.ru_utime + used.ru_stime
        return RunCost(spent, ended - began, used.ru_maxrss / 1024, cpu_s, came - began, ended - self.last_s)

    def note(self) -> str:
        """Note that a request has come. Returns what to reply."""
        if self.first is None:
            self.first = time.perf_counter(), _cpu_s(self.pid)
        self.requests += 1
        return REPLIES[min(self.requests, len(REPLIES)) - 1]

    def noted(self) -> None:
        """Note that its reply has left."""
        self.last_s = time.perf_counter()


@contextmanager
def asked() -> Iterator[Asked]:
    """Serve a model on loopback, in a thread of this process, for as long as the block lasts."""
    model = Asked()

    class Replies(Answering):
        def asked(self, head: bytes, body: bytes) -> None:
            self.send(_reply(body, model.note()))
            model.noted()

    with serving(Replies) as port:
        model.url = f"http://127.0.0.1:{port}/v1"
        yield model


def _reply(body: bytes, text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": json.loads(body)["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
        }
    ).encode()


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process that runs, in steps of a clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


@contextmanager
def _started(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        yield running
