"""The supervisor: owns the control socket, the clock and the worker of one REPL, and outlives its host.

It never runs a model's code. What the worker says is data to be checked; what clients say comes from the REPL's own
user, whom the kernel vouches for.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from rlm_graph.executors.worker.context import memory_needed
from rlm_graph.executors.worker.frames import MAX_VALUE, Frame, FrameError, encode
from rlm_graph.executors.worker.link import Link
from rlm_graph.executors.worker.process import (
    Settings,
    WorkerProcess,
    died_of,
    prepare_supervisor,
    reap_orphans,
)
from rlm_graph.executors.worker.run import BadFrame, CellRun, identity

MAX_HELD_BYTES = 2 * MAX_VALUE
"""Of unanswered calls. Beyond it the worker is not read from until some are answered."""
MAX_RECORDS_BYTES = 64 << 20
"""Of ended cells that can still be asked for. The last is always kept."""

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Client(Link):
    """A host that is connected."""

    following = False
    """Whether it wants to be told what the running cell does."""


class Supervisor:
    """The state of one REPL, driven by what happens on its descriptors and by its clock."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        prepare_supervisor()
        self._settings = settings
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._clients: set[Client] = set()
        self._idle_since = time.monotonic()
        self._closed = False
        self._generation = 0
        self._cells_done = 0
        self._run: CellRun | None = None
        self._records: dict[int, tuple[str, bytes]] = {}
        self._asked: dict[int, tuple[Client, Any]] = {}
        self._asks = 0
        self._greeting: list[tuple[Client, Any]] = []
        self._failure: str | None = None
        self._allowed: set[int] = set()
        self._tools: list[str] = []
        self._requests: dict[str, Callable[[Client, Frame], None]] = {
            "ping": self._ping, "exec": self._exec, "wait": self._wait, "resume": self._resume, "vars": self._ask,
            "interrupt": self._interrupt, "kill": self._kill, "context": self._context, "tools": self._set_tools,
            "close": self._close,
        }  # fmt: skip
        listener.setblocking(False)
        self._selector.register(listener, READ, self._accept)
        self._worker: WorkerProcess | None = self._start_worker()

    def serve(self) -> None:
        """Work until the REPL is closed or has had no client for `idle_timeout_s`; then remove its folder."""
        try:
            while not self._closed:
                due = self._due()
                timeout = None if due is None else max(0.0, due - time.monotonic())
                for key, events in self._selector.select(timeout):
                    # What an earlier one of these closed is registered no more.
                    if self._selector.get_map().get(key.fd) is key:
                        key.data(events)
                self._tick(time.monotonic())
                self._watch()
        finally:
            if self._worker is not None:
                self._worker.stop()
            shutil.rmtree(self._settings.folder, ignore_errors=True)
            for client in self._clients:
                client.close()
            self._listener.close()

    # Time

    def _due(self) -> float | None:
        times = [self._run.due() if self._run else None]
        if not self._clients:
            times.append(self._idle_since + self._settings.idle_timeout_s)
        return min((at for at in times if at is not None), default=None)

    def _tick(self, now: float) -> None:
        run = self._run
        if run is not None:
            if run.announce_at is not None and now >= run.announce_at:
                for frame in run.announcements():
                    self._tell(frame)
            action = run.check_deadline(now)
            if action == "interrupt":
                run.worker.interrupt()
            elif action == "kill":
                self._end_worker(
                    "TimeoutError",
                    f"the cell computed for longer than {run.timeout_s:g} s and ignored the interrupt, so it was killed",
                )
        if not self._clients and now >= self._idle_since + self._settings.idle_timeout_s:
            self._closed = True

    # The worker

    def _start_worker(self) -> WorkerProcess:
        self._generation += 1
        self._cells_done = 0
        self._allowed.clear()
        worker = WorkerProcess(self._settings, self._generation)
        self._selector.register(worker.link.sock, READ, lambda _: self._hear_worker(worker))
        for stream, pipe in worker.pipes.items():
            self._selector.register(pipe, READ, lambda _, stream=stream: self._drain(worker, stream))
        if worker.pidfd is not None:
            self._selector.register(worker.pidfd, READ, lambda _: self._worker_died(worker))
        if self._tools:
            worker.link.send({"op": "tools", "re": 0, "tools": self._tools})
        return worker

    def _drain(self, worker: WorkerProcess, stream: str) -> None:
        if not worker.drain(stream):
            self._selector.unregister(worker.pipes[stream])

    def _hear_worker(self, worker: WorkerProcess) -> None:
        if worker.link.wants_to_send:
            worker.link.flush()
        try:
            frames, ended = worker.link.receive()
            for frame in frames:
                self._from_worker(worker, frame)
        except (BadFrame, FrameError, KeyError, TypeError) as error:
            if worker is self._worker:
                self._end_worker(
                    "ReplDied", f"the code broke into the channel of its REPL ({error}); the REPL was ended"
                )
            return
        if ended and worker is self._worker:
            self._worker_died(worker)

    def _worker_died(self, worker: WorkerProcess) -> None:
        if worker is not self._worker:
            return
        with contextlib.suppress(BadFrame, FrameError, KeyError, TypeError):
            for frame in worker.link.receive()[0]:  # what it said last
                self._from_worker(worker, frame)
        self._end_worker("ReplDied", None)

    def _end_worker(self, kind: str, message: str | None) -> None:
        """End the worker, and with it the running cell; start another, with nothing in it."""
        worker, run = self._worker, self._run
        assert worker is not None
        for descriptor in (worker.link.sock, worker.pidfd, *worker.pipes.values()):
            with contextlib.suppress(KeyError):
                if descriptor is not None:
                    self._selector.unregister(descriptor)
        if run is not None:
            run.measure()
        status = worker.stop()
        message = message or f"the Python process of the REPL is gone: {died_of(status)}; what the cell did is lost"
        self._records.clear()
        if run is not None:
            self._finish(run, run.killed(kind, message))
        for client, re in self._asked.values():
            client.send({"re": re, "ev": "error", "message": message})
        self._asked.clear()
        if worker.ready:
            self._worker = self._start_worker()
            return
        self._worker = None
        self._failure = self._failure or f"the worker cannot start: {died_of(status)}"
        self._greet()

    def _from_worker(self, worker: WorkerProcess, frame: Frame) -> None:
        if worker is not self._worker:
            return
        event, run = frame["ev"], self._run
        if event == "call":
            if run is not None and frame["cell"] == run.number:
                run.add_call(frame)
        elif event == "done":
            if run is None or frame["cell"] != run.number:
                raise BadFrame("a cell ended that does not run")
            for stream in worker.pipes:
                worker.drain(stream)
            told = run.finish(frame)
            self._cells_done = run.number
            self._finish(run, told)
            reap_orphans(worker.pid)
        elif event == "reply":
            client, re = self._asked.pop(frame["re"], (None, None))
            if client is not None:
                kind = "error" if "error" in frame else "reply"
                client.send({"re": re, "ev": kind, "message": frame.get("error"), "variables": frame.get("variables")})
        elif event == "ready" and not worker.ready:
            worker.ready = True
            self._greet()
        elif event == "failed" and not worker.ready:
            self._failure = str(frame["message"])
        else:
            raise BadFrame(f"the worker knows no {event!r}")

    def _finish(self, run: CellRun, told: Frame) -> None:
        self._run = None
        line = encode(told)
        self._records[run.number] = (run.identity, line)
        while len(self._records) > 1 and sum(len(kept) for _, kept in self._records.values()) > MAX_RECORDS_BYTES:
            self._records.pop(next(iter(self._records)))
        for client in self._clients:
            if client.following:
                client.following = False
                client.send_line(line)

    # Clients

    def _accept(self, _: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has given up already
            return
        if hasattr(socket, "SO_PEERCRED"):
            _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid not in (os.geteuid(), 0):
                sock.close()
                return
        client = Client(sock)
        self._clients.add(client)
        self._selector.register(sock, READ, lambda _: self._hear_client(client))

    def _hear_client(self, client: Client) -> None:
        client.flush()
        try:
            frames, ended = client.receive()
        except FrameError as error:
            client.send({"ev": "error", "re": None, "message": str(error)})
            frames, ended = [], True
        for frame in frames:
            try:
                self._requests[frame["op"]](client, frame)
            except (KeyError, TypeError, ValueError, OSError) as error:
                message = f"bad request {frame.get('op')!r}: {type(error).__name__}: {error}"
                client.send({"ev": "error", "re": frame.get("re"), "message": message})
        if ended:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        self._clients.discard(client)
        self._selector.unregister(client.sock)
        client.close()
        self._asked = {number: asked for number, asked in self._asked.items() if asked[0] is not client}
        self._greeting = [greeting for greeting in self._greeting if greeting[0] is not client]
        self._idle_since = time.monotonic()

    def _watch(self) -> None:
        """Have the selector tell when a link can take what is unsent, and not of what must wait."""
        for client in self._clients:
            self._listen(
                client, READ | (WRITE if client.wants_to_send else 0), lambda _, c=client: self._hear_client(c)
            )
        worker = self._worker
        if worker is not None:
            full = self._run is not None and self._run.held_bytes > MAX_HELD_BYTES
            events = (0 if full else READ) | (WRITE if worker.link.wants_to_send else 0)
            self._listen(worker.link, events, lambda _: self._hear_worker(worker))

    def _listen(self, link: Link, events: int, callback: Callable[[int], None]) -> None:
        key = self._selector.get_map().get(link.sock)
        if key is None and events:
            self._selector.register(link.sock, events, callback)
        elif key is not None and not events:
            self._selector.unregister(link.sock)
        elif key is not None and key.events != events:
            self._selector.modify(link.sock, events, key.data)

    def _tell(self, frame: Frame) -> None:
        line = encode(frame)
        for client in self._clients:
            if client.following:
                client.send_line(line)

    def _greet(self) -> None:
        for client, re in self._greeting:
            self._pong(client, re)
        self._greeting.clear()

    def _pong(self, client: Client, re: Any) -> None:
        run = self._run
        client.send({
            "ev": "pong", "re": re, "version": self._settings.version, "failure": self._failure,
            "generation": self._generation, "cells_done": self._cells_done, "cell": run and run.number,
        })  # fmt: skip

    # Requests of clients

    def _ping(self, client: Client, frame: Frame) -> None:
        """Tell the state, as soon as there is a worker, or a reason why there is none."""
        if self._failure is not None or (self._worker is not None and self._worker.ready):
            self._pong(client, frame["re"])
        else:
            self._greeting.append((client, frame["re"]))

    def _exec(self, client: Client, frame: Frame) -> None:
        """Run a cell; join it if it runs already; tell its end again if it has ended."""
        number, run = frame["cell"], self._run
        known, record = self._records.get(number, (None, b""))
        if run is not None and run.number != number:
            raise ValueError(f"busy with cell {run.number}")
        if run is not None and run.identity == identity(frame):
            self._follow(client, run)
        elif run is None and known == identity(frame):
            client.send_line(record)
        elif run is not None or number <= self._cells_done:
            # Whoever asks has another past than this namespace: no answer from it would be right.
            self._end_worker("ReplDied", "the REPL was emptied, because its host has another cell of this number")
            raise ValueError(f"cell {number} was another one here, so the REPL was emptied: run the cells again")
        else:
            self._start(client, frame)

    def _start(self, client: Client, frame: Frame) -> None:
        worker = self._living()
        self._run = CellRun(frame, worker)
        client.following = True
        keys = ("op", "cell", "code", "language", "seed", "started_at")
        worker.link.send({key: frame[key] for key in keys})

    def _follow(self, client: Client, run: CellRun) -> None:
        client.following = True
        for frame in run.announcements(again=True):
            client.send(frame)

    def _wait(self, client: Client, frame: Frame) -> None:
        """Tell where the last cell is: its unanswered calls and then its end, or its end again."""
        if self._run is not None:
            self._follow(client, self._run)
        elif self._records:
            client.send_line(next(reversed(self._records.values()))[1])
        else:
            client.send({"ev": "error", "re": frame.get("re"), "message": "no cell has run yet"})

    def _resume(self, client: Client, frame: Frame) -> None:
        """Hand answers to the code. Those to calls that are answered, or of a cell that has ended, are dropped."""
        run = self._run
        if run is not None and run.number == frame["cell"]:
            news = run.answer(frame["results"])
            if news:
                run.worker.link.send({"op": "results", "results": news})

    def _interrupt(self, client: Client, frame: Frame) -> None:
        if self._run is not None:
            self._run.worker.interrupt()
        client.send({"ev": "reply", "re": frame["re"]})

    def _kill(self, client: Client, frame: Frame) -> None:
        if self._run is not None:
            self._end_worker("ReplDied", "the cell was ended from outside, and the REPL with it")
        client.send({"ev": "reply", "re": frame["re"]})

    def _context(self, client: Client, frame: Frame) -> None:
        """Open a stored context for the worker, which may not open files itself."""
        worker, number = self._living(), frame["number"]
        with open(os.path.join(frame["folder"], "index.json"), "rb") as file:
            index = json.load(file)
        if number not in self._allowed:
            self._allowed.add(number)
            worker.allow_memory(memory_needed(index["parts"]))
        text = os.open(os.path.join(frame["folder"], "text"), os.O_RDONLY | os.O_CLOEXEC)
        job = {"op": "context", "number": number, "kind": index["kind"], "parts": index["parts"]}
        self._ask_worker(client, frame["re"], job, [text])

    def _set_tools(self, client: Client, frame: Frame) -> None:
        self._tools = [str(tool) for tool in frame["tools"]]
        self._ask_worker(client, frame["re"], {"op": "tools", "tools": self._tools})

    def _ask(self, client: Client, frame: Frame) -> None:
        self._ask_worker(client, frame["re"], {"op": frame["op"]})

    def _ask_worker(self, client: Client, re: Any, job: Frame, descriptors: Sequence[int] = ()) -> None:
        worker = self._living()
        self._asks += 1
        self._asked[self._asks] = (client, re)
        worker.link.send({**job, "re": self._asks}, descriptors)

    def _living(self) -> WorkerProcess:
        if self._worker is None:
            raise ValueError(self._failure)
        return self._worker

    def _close(self, client: Client, frame: Frame) -> None:
        self._closed = True
