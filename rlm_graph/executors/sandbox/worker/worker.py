"""The worker: the process that runs a model's code. It holds the namespace; everything it says is untrusted."""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Protocol

from rlm_graph.executors.sandbox.frames import MAX_REASON, Frame, FrameError, Splitter, encode
from rlm_graph.executors.sandbox.worker.calls import HostCalls, Transport
from rlm_graph.executors.sandbox.worker.cells import Cells, describe, prepare
from rlm_graph.executors.sandbox.worker.determinism import Determinism
from rlm_graph.executors.sandbox.worker.namespace import Ended, Main, Namespace
from rlm_graph.executors.sandbox.worker.snapshot import Snapshots, Unsupported
from rlm_graph.executors.sandbox.worker.streams import Streams
from rlm_graph.executors.sandbox.worker.texts import StoredContext, open_file

RECEIVE_BYTES = 1 << 18
SETTLE_S = 0.02
"""How long a thread has, after an answer, to ask again before its cell ends."""
RECURSION_LIMIT = 1000
LOST_CHANNEL = 70
"""Exit status of a worker that cannot reach its supervisor."""

# Code may replace those of the module.
_recursion_limit, _set_recursion_limit = sys.getrecursionlimit, sys.setrecursionlimit


class Channel(Transport, Protocol):
    """Carries frames to and from the supervisor."""

    def start(self) -> None:
        """Read from now on."""

    def send(self, frame: Frame) -> None:
        """Send a frame whole. Raises `FrameError` if it is too long."""

    def next_job(self) -> Frame:
        """Wait for what the supervisor wants done next."""

    def context(self, job: Frame) -> StoredContext:
        """Return the context that came with a job."""

    def settle(self) -> None:
        """Wait until the threads of a cell have all their answers and ask no more."""

    def abandon(self) -> None:
        """End the waiting of threads whose cell is over."""

    def close(self) -> None:
        """Let this process send nothing more."""


class SocketChannel:
    """A stream socket. One thread reads; a thread that asks the host blocks until it is answered."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: dict[int, queue.SimpleQueue[Frame]] = {}
        self._jobs: queue.SimpleQueue[Frame] = queue.SimpleQueue()

    def start(self) -> None:
        """Read from now on."""
        threading.Thread(target=self._read, name="rlm-channel", daemon=True).start()

    def send(self, frame: Frame) -> None:
        """Send a frame whole. Raises `FrameError` if it is too long."""
        self._send_line(encode(frame))

    def _send_line(self, line: bytes) -> None:
        try:
            with self._sending:
                self._sock.sendall(line)
        except OSError:  # code closed the descriptor, or the supervisor is gone
            os._exit(LOST_CHANNEL)

    def post(self, call: Frame, sent: Iterable[bytes] = ()) -> Callable[[], Frame]:
        """Send a call of the host; what is returned waits for the answer."""
        answer: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        for data in sent:
            self.send(text_frame(call, data))
        # The supervisor holds calls back for others that threads are about to make; two threads are ours.
        line = encode({"ev": "call", **call, "alone": threading.active_count() <= 2 and not call.get("ahead")})
        with self._changed:
            self._waiting[call["id"]] = answer
        self._send_line(line)
        return answer.get

    def may_begin_ahead(self) -> bool:
        """Whether the cell has no thread but the one that asks."""
        return threading.active_count() <= 2 and threading.current_thread() is threading.main_thread()

    def settle(self) -> None:
        """Wait until the threads of a cell have all their answers and ask no more."""
        while self._waiting:
            with self._changed:
                self._changed.wait_for(lambda: not self._waiting)
            time.sleep(SETTLE_S)

    def abandon(self) -> None:
        """End the waiting of threads whose cell is over."""
        with self._changed:
            waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.put({"error": "the cell ended before the answer came", "error_type": "RuntimeError"})

    def next_job(self) -> Frame:
        """Wait for what the supervisor wants done next."""
        return self._jobs.get()

    def context(self, job: Frame) -> StoredContext:
        """Return the context that came with a job, in the file that came too, of which it is `bytes` from `at` on."""
        try:
            return open_file(job["kind"], job["parts"], job["text"], job["at"], job["bytes"])
        finally:
            os.close(job["text"])

    def close(self) -> None:
        """Let this process send nothing more."""
        with contextlib.suppress(OSError):
            self._sock.close()

    def _read(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the main thread is the one to interrupt
        splitter = Splitter()
        descriptors = array("i")
        space = socket.CMSG_SPACE(4 * descriptors.itemsize)
        while True:
            try:
                data, ancillary, _, _ = self._sock.recvmsg(RECEIVE_BYTES, space)
            except OSError:
                data, ancillary = b"", []
            if not data:
                os._exit(LOST_CHANNEL)
            for _, _, content in ancillary:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
            for frame in splitter.feed(data):
                self._dispatch(frame, descriptors)

    def _dispatch(self, frame: Frame, descriptors: array[int]) -> None:
        if frame["op"] == "results":
            for result in frame["results"]:
                with self._changed:
                    answer = self._waiting.pop(result["id"], None)
                    self._changed.notify_all()
                if answer is not None:
                    answer.put(result)
            return
        if frame["op"] == "context":
            frame["text"] = descriptors.pop(0)
        self._jobs.put(frame)


def text_frame(call: Frame, data: bytes) -> Frame:
    """Return the frame that sends some bytes of what goes beside a call, before it."""
    return {"ev": "text", "cell": call["cell"], "id": call["id"], "data": base64.b64encode(data).decode()}


class Worker:
    """Does what the supervisor asks, one thing after another, in the main thread."""

    def __init__(self, channel: Channel, *, bash: bool) -> None:
        main = Main("__main__")
        sys.modules["__main__"] = main
        self._channel = channel
        self._determinism = Determinism()
        self._calls = HostCalls(self._channel, readings=self._determinism.readings)
        self._namespace = Main.namespace = Namespace(main.__dict__, self._calls)
        self._cells = Cells(self._namespace, bash=bash)
        self._snapshots = Snapshots(self._namespace, self._cells)
        self._given: set[int] = set()
        self._in_cell = False
        self._forked = False
        self._last: Frame = {"seed": 0, "started_at": None, "readings": {}}
        prepare(main.__dict__)

    def serve(self, report: Frame) -> None:
        """Say that the worker is ready, with `report`, and work until the process ends."""
        self.begin(report)
        while True:
            self.work()

    def begin(self, report: Frame) -> None:
        """Take hold of what belongs to the process, and say that the worker is ready, with `report`."""
        self._determinism.install()
        self._streams = Streams()
        self._streams.restore()
        if hasattr(os, "register_at_fork"):  # WebAssembly has no processes
            os.register_at_fork(after_in_child=self._disown)
        threading.excepthook = _tell_of_thread
        signal.signal(signal.SIGINT, self._interrupt)
        self._channel.start()
        self._channel.send({"ev": "ready", "report": report})

    def work(self) -> None:
        """Do the next thing that the supervisor asks for."""
        job = self._channel.next_job()
        if job["op"] == "exec":
            self._exec(job)
        else:
            self._channel.send({"ev": "reply", "re": job["re"], **self._answer(job)})

    def _exec(self, job: Frame) -> None:
        number = job["cell"]
        self._set_up(job)
        self._calls.open(number, ahead=job.get("ahead", 0))
        self._snapshots.note(number, job["code"], job["language"])
        outcome: Frame = {}
        try:
            self._in_cell = True
            outcome = self._cells.run(number, job["code"], job["language"])
            if outcome["status"] == "ok" and not self._forked:
                self._channel.settle()
            self._in_cell = False
        except BaseException as raised:  # an interrupt that came when the code had ended
            self._in_cell = False
            _restore_recursion_limit()
            outcome = {"value": None, "final": None, **outcome, "status": "error", "error": describe(raised, number)}
        if self._forked:
            self._streams.flush()
            os._exit(0 if outcome["error"] is None else 1)
        _restore_recursion_limit()
        self._calls.close()
        self._channel.abandon()
        self._streams.flush()
        if readings := self._determinism.readings():
            outcome["readings"] = readings
        if unused := self._calls.begun.ids:
            outcome["unused"] = unused
        self._report(number, outcome)

    def _set_up(self, job: Frame) -> None:
        """Put back what belongs to the process, whatever the cell before did to it."""
        self._last = {**job, "readings": {}}  # clocks that were set once go on
        self._streams.restore()
        signal.signal(signal.SIGINT, self._interrupt)
        self._determinism.begin(job["seed"], job["started_at"], job["readings"])

    def _check(self) -> Frame:
        """Do what the next cell will need, and list the variables. Raises what a cell has made of the process."""
        self._set_up(self._last)
        self._cells.check()
        try:
            return {"variables": self._namespace.variables()}
        except Exception:  # too little memory for it, say
            return {"variables": []}

    def _report(self, number: int, outcome: Frame) -> None:
        try:
            self._channel.send({"ev": "done", "cell": number, **outcome})
        except (FrameError, TypeError, ValueError) as error:
            told = describe(error, number)
            self._channel.send(
                {"ev": "done", "cell": number, "status": "error", "value": None, "error": told, "final": None}
            )

    def _answer(self, job: Frame) -> Frame:
        try:
            if job["op"] == "check":
                return self._check()
            if job["op"] == "vars":
                return {"variables": self._namespace.variables()}
            if job["op"] == "tools":
                self._namespace.set_tools(job["tools"])
            elif job["op"] == "context":
                self._take(job)
            elif job["op"] in ("snapshot", "restore"):
                return self._snapshot(job)
            else:
                return {"error": f"the worker knows no {job['op']!r}"}
        except BaseException as error:  # values are the code's, and may mean to end the process
            told = describe(error, 0)
            return {"error": f"{told['type']}: {told['message']}"[:MAX_REASON]}
        return {}

    def _snapshot(self, job: Frame) -> Frame:
        """Take a snapshot or bring one back, or say why that cannot be."""
        try:
            if job["op"] == "snapshot":
                return {"snapshot": base64.b64encode(self._snapshots.take(job["max_bytes"])).decode(), "reason": None}
            self._snapshots.restore(base64.b64decode(job["snapshot"]))
        except Unsupported as error:
            return {"snapshot": None, "reason": str(error)[:MAX_REASON]}
        return {"snapshot": None, "reason": None}

    def _take(self, job: Frame) -> None:
        stored = self._channel.context(job)
        if job["number"] not in self._given:
            self._namespace.give(job["number"], stored)
            self._given.add(job["number"])

    def _interrupt(self, *_: object) -> None:
        if self._in_cell:
            raise KeyboardInterrupt("interrupted")

    def _disown(self) -> None:
        # A process that code forked must not speak to the supervisor in its parent's name.
        self._forked = True
        self._calls.close()
        self._channel.close()


def _restore_recursion_limit() -> None:
    """Give this module's own functions the room that they need: code may have left them none."""
    if _recursion_limit() < RECURSION_LIMIT:
        _set_recursion_limit(RECURSION_LIMIT)


def _tell_of_thread(arguments: threading.ExceptHookArgs) -> None:
    if not issubclass(arguments.exc_type, Ended):
        threading.__excepthook__(arguments)
