"""The worker inside WebAssembly: the same namespace, cells and calls as anywhere; only its channel is another.

The channel is a device, `/dev/rlm`, that JavaScript serves. Nothing here holds an object of JavaScript: a snapshot of
the memory could not keep it, and code could reach it.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable

from rlm_graph.executors.pyodide import inline
from rlm_graph.executors.sandbox.frames import MAX_FRAME, Frame, FrameError, decode, encode
from rlm_graph.executors.sandbox.worker.texts import StoredContext, read
from rlm_graph.executors.sandbox.worker.worker import LOST_CHANNEL, Worker, text_frame

DEVICE = "/dev/rlm"
RECEIVE_BYTES = 1 << 18
IMPORTED = (
    "asyncio", "base64", "bisect", "calendar", "collections", "concurrent.futures", "copy", "csv", "dataclasses",
    "datetime", "decimal", "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "html", "io", "itertools",
    "json", "math", "operator", "pathlib", "pprint", "random", "re", "statistics", "string", "textwrap", "threading",
    "time", "typing", "unicodedata", "urllib.parse", "uuid", "zoneinfo",
)  # fmt: skip
"""What code imports most: part of the snapshot, so that it is there at once."""


class DeviceChannel:
    """Frames over the device. There is one thread: whoever waits for an answer reads."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._jobs: deque[Frame] = deque()
        self._waiting: set[int] = set()
        self._answers: dict[int, Frame] = {}

    def start(self) -> None:
        """Read from now on: nothing to do."""

    def send(self, frame: Frame) -> None:
        """Send a frame whole. Raises `FrameError` if it is too long."""
        rest = memoryview(encode(frame))
        # Opened each time: code may close any descriptor, and open a file that gets its number.
        device = _open()
        while rest:
            rest = rest[os.write(device, rest) :]
        os.close(device)

    def post(self, call: Frame, sent: Iterable[bytes] = ()) -> Callable[[], Frame]:
        """Send a call of the host; what is returned waits for the answer."""
        for data in sent:
            self.send(text_frame(call, data))
        # Nobody else can make a call before this one is answered.
        self.send({"ev": "call", **call, "alone": True})
        self._waiting.add(call["id"])
        return lambda: self._answer(call["id"])

    def may_begin_ahead(self) -> bool:
        """No: there is one call at a time."""
        return False

    def next_job(self) -> Frame:
        """Wait for what the supervisor wants done next."""
        while not self._jobs:
            self._receive()
        return self._jobs.popleft()

    def context(self, job: Frame) -> StoredContext:
        """Return the context that came with a job. Raises `MemoryError` if there was no room for it."""
        data = job.pop("text")
        if data is None:
            raise MemoryError("the context does not fit into the sandbox's memory")
        stored = read(job["kind"], job["parts"], data)
        stored.value()
        for text in stored.texts:
            text.hold(alone=True)  # this memory has no room for both
        return stored

    def settle(self) -> None:
        """Run the threads of the cell that nobody has waited for."""
        inline.run_threads()

    def abandon(self) -> None:
        """Forget the threads that have not begun, and answers that come too late."""
        inline.forget_threads()
        self._waiting.clear()
        self._answers.clear()

    def close(self) -> None:
        """Let this process send nothing more: it has no other."""

    def _answer(self, number: int) -> Frame:
        try:
            while number not in self._answers:
                self._receive()
            return self._answers.pop(number)
        finally:
            self._waiting.discard(number)

    def _receive(self) -> None:
        frame = self._frame()
        if frame["op"] == "results":
            self._answers.update({result["id"]: result for result in frame["results"] if result["id"] in self._waiting})
            return
        if frame["op"] == "context":
            frame["text"] = self._bytes(frame["bytes"])
        self._jobs.append(frame)

    def _frame(self) -> Frame:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_FRAME:
                raise FrameError(f"a frame is longer than {MAX_FRAME:,} bytes")
            self._buffer += _read(RECEIVE_BYTES)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return decode(line)

    def _bytes(self, size: int) -> bytearray | None:
        """Return the bytes that follow a frame as they are, or None, with all of them read, if there is no room."""
        try:
            data: bytearray | None = bytearray(size)
        except MemoryError:
            data = None
        done = 0
        while done < size:
            part = bytes(self._buffer[: size - done]) or _read(min(size - done, RECEIVE_BYTES))
            del self._buffer[: len(part)]
            if data is not None:
                data[done : done + len(part)] = part
            done += len(part)
        return data


def _open() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR)
    except OSError:  # code has removed the device
        os._exit(LOST_CHANNEL)


def _read(size: int) -> bytes:
    device = _open()
    try:
        return os.read(device, size)
    finally:
        os.close(device)


_worker: Worker | None = None


def prepare() -> None:
    """Do what every REPL needs and none changes, so that it can be part of the snapshot."""
    import importlib

    global _worker
    for name in IMPORTED:
        importlib.import_module(name)
    inline.install()
    _worker = Worker(DeviceChannel(), bash=False)


def begin() -> None:
    """Say that the worker is ready. Before that, what leads to JavaScript goes."""
    assert _worker is not None
    sys.argv = [""]
    sys.path[:] = [os.getcwd(), *(entry for entry in sys.path if entry)]
    _forget_javascript()
    _worker.begin({})


def work() -> None:
    """Do the next thing that the supervisor asks for."""
    assert _worker is not None
    _worker.work()


def _forget_javascript() -> None:
    """Leave code no name that leads to JavaScript.

    What can be reached of it is bare as well, and may do nothing: this is the first of several walls, and not the one
    that has to hold.
    """
    names = sys.modules["__main__"].__dict__
    for name in filter(_is_of_pyodide, list(names)):  # it imports itself there as it starts
        del names[name]
    for finder in list(sys.meta_path):
        if _is_of_pyodide(getattr(finder, "__module__", "")) or hasattr(finder, "jsproxies"):
            getattr(finder, "jsproxies", {}).clear()
            sys.meta_path.remove(finder)
    for name in _names_of_pyodide():
        content = getattr(sys.modules.get(name), "__dict__", {})
        for key in [key for key in content if not key.startswith("__")]:
            del content[key]
        # None stands for a module that there is not.
        sys.modules[name] = None  # type: ignore[assignment]  # what Python's import takes it for


_ROOTS = ("js", "pyodide", "pyodide_js", "_pyodide", "_pyodide_core")


def _is_of_pyodide(name: str) -> bool:
    return name.partition(".")[0] in _ROOTS


def _names_of_pyodide() -> set[str]:
    return {*filter(_is_of_pyodide, list(sys.modules)), *_ROOTS}
