"""A worker that is another program: it runs Python by means of its own and speaks as a worker does.

It reads frames from its standard input and writes them to its standard output. What code prints comes out of its
standard error, in packets: the stream's number in one byte, the length in four, the text. Files that go with a frame
follow it as they are, `bytes` of them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import socket
from collections.abc import Sequence
from typing import NoReturn

from rlm_graph.executors.sandbox.confinement.confine import confine
from rlm_graph.executors.sandbox.frames import Frame, encode
from rlm_graph.executors.sandbox.supervisor.output import BoundedOutput
from rlm_graph.executors.sandbox.supervisor.process import WorkerProcess
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings
from rlm_graph.executors.sandbox.supervisor.worker_start import leave_the_rest_to

ENVIRONMENT = {"DENO_DIR": "/dev/null/deno", "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1", "LANG": "C.UTF-8"}
"""Its folder for caches cannot exist, not even for root: what one REPL had compiled reaches no other."""
OWN_BYTES = 2 << 30
"""Of memory that the program takes for itself, at most, besides what code may have."""
MAX_OPEN_FILES = 256

_STREAMS = {1: "stdout", 2: "stderr"}
_HEADER_BYTES = 5


def start_worker(settings: SupervisorSettings, generation: int) -> WorkerProcess:
    """Start the kind of worker that the settings call for."""
    return (ProgramProcess if settings.program else WorkerProcess)(settings, generation)


class ProgramProcess(WorkerProcess):
    """The process of such a program. The kernel holds it as it holds a worker of ours, from before its first line."""

    pipe_names = ("packets",)

    def __init__(self, settings: SupervisorSettings, generation: int) -> None:
        self._room = settings.memory_bytes
        super().__init__(settings, generation)
        self._packets = Packets(self.outputs)

    def allow_memory(self, extra_bytes: int) -> None:
        """Count what a context takes. Raises `ValueError` if there is no room: this memory does not grow."""
        if extra_bytes > self._room:
            raise ValueError(
                f"the context takes {extra_bytes >> 20:,} MB of memory as text and {self._room >> 20:,} MB are left of "
                "what this executor has (memory_bytes); local and docker take longer ones"
            )
        self._room -= extra_bytes

    def send(self, frame: Frame, descriptors: Sequence[int] = ()) -> None:
        """Send a frame, and after it what it says of the file that goes with it: `bytes` of it from `at` on."""
        if not descriptors:
            self.link.send(frame)
            return
        (file,) = descriptors
        start, size = frame["at"], frame["bytes"]
        before = start % mmap.ALLOCATIONGRANULARITY
        try:
            pages = mmap.mmap(file, before + size, prot=mmap.PROT_READ, offset=start - before) if size else None
        finally:
            os.close(file)
        self.link.send(frame)
        if pages is not None:
            self.link.send_line(memoryview(pages)[before:])

    def _printed(self, pipe: str, data: bytes) -> None:
        self._packets.take(data)

    def _become(
        self, settings: SupervisorSettings, supervisor: int, sock: socket.socket, outputs: list[int]
    ) -> NoReturn:
        """Turn a fresh fork of the supervisor into the program."""
        try:
            os.setpgid(0, 0)
            leave_the_rest_to(supervisor)
            os.chdir(settings.scratch)
            for number, fd in enumerate((sock.fileno(), sock.fileno(), *outputs)):
                os.dup2(fd, number)
            # Address space says nothing here: the program reserves far more of it than it ever uses.
            limit = settings.memory_bytes + OWN_BYTES
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            if settings.confined:
                confine(
                    scratch=settings.scratch,
                    read=settings.program_files,
                    memory_bytes=None,
                    max_file_bytes=settings.max_file_bytes,
                    max_threads=settings.max_threads,
                    max_open_files=MAX_OPEN_FILES,
                    program=settings.program[0],
                )
            os.closerange(3, MAX_OPEN_FILES)
            os.execve(settings.program[0], list(settings.program), ENVIRONMENT)  # noqa: S606  # no shell is wanted
        except BaseException as error:
            with contextlib.suppress(BaseException):
                os.write(1, encode({"ev": "failed", "message": f"{type(error).__name__}: {error}"}))
        finally:
            os._exit(71)


class Packets:
    """What code printed, out of packets. Bytes that are none come from the program itself: it tells why it ends."""

    def __init__(self, outputs: dict[str, BoundedOutput]) -> None:
        self._outputs = outputs
        self._head = b""
        self._stream = ""
        self._left = 0

    def take(self, data: bytes) -> None:
        """Take what came out of the pipe next."""
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                self._outputs[self._stream].write(part)
                self._left -= len(part)
                at += len(part)
                continue
            lacking = _HEADER_BYTES - len(self._head)
            self._head += data[at : at + lacking]
            at += lacking
            if self._head[0] not in _STREAMS:
                self._outputs["stderr"].write(self._head + data[at:])
                self._head = b""
                return
            if len(self._head) >= _HEADER_BYTES:
                self._stream = _STREAMS[self._head[0]]
                self._left = int.from_bytes(self._head[1:_HEADER_BYTES], "big")
                self._head = b""
