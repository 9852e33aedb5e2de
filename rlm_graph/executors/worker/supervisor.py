"""The supervisor: owns the control socket, the clock and the worker of one REPL, and outlives its host.

It never runs a model's code. What the worker says is data to be checked; what clients say comes from the REPL's own
user, whom the kernel vouches for.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from rlm_graph.executors.worker.clients import READ, WRITE, Client, Clients
from rlm_graph.executors.worker.context import memory_needed
from rlm_graph.executors.worker.frames import MAX_VALUE, Frame, FrameError, encode
from rlm_graph.executors.worker.process import (
    Settings,
    WorkerProcess,
    died_of,
    end_orphans,
    prepare_supervisor,
    reap_orphans,
)
from rlm_graph.executors.worker.program import start_worker
from rlm_graph.executors.worker.records import Records
from rlm_graph.executors.worker.removal import remove_tree
from rlm_graph.executors.worker.run import BadFrame, CellRun, identity

MAX_HELD_BYTES = 2 * MAX_VALUE
"""Of unanswered calls. Beyond it the worker is not read from until some are answered."""
FAILURE_S = 30.0
"""Seconds that a supervisor without a worker waits for a host to tell it why."""
COUNT_S, COUNT_IDLE_S = 0.05, 0.5
"""How often threads are counted, while a cell runs and between cells, where those left behind may start more."""
TOO_MANY = 4
"""Times `max_threads`: code that starts only a few too many keeps its variables."""


class Supervisor:
    """The state of one REPL, driven by what happens on its descriptors and by its clock."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        prepare_supervisor()
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._clients = Clients(listener, self._selector, serve=self._serve, left=self._forget)
        self._closed = False
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._woken, READ, lambda _: self._woken.recv(1))
        self._generation = 0
        self._cells_done = 0
        self._past: list[Frame] = []
        self._run: CellRun | None = None
        self._records = Records()
        self._asked: dict[int, tuple[Client, Any]] = {}
        self._asks = 0
        self._greeting: list[tuple[Client, Any]] = []
        self._failure: str | None = None
        # The kernel bounds the threads of every user but root, who may start them until the machine has no more.
        self._counts_threads = os.getuid() == 0 and settings.confined and settings.user is None
        self._counted_at = 0.0
        self._host: Any = None
        """What the host that came last said of itself."""
        self._given: set[int] = set()
        self._giving: dict[int, int] = {}
        self._restoring: dict[int, list[Frame]] = {}
        """What the namespace will hold the effects of, by the number of the request."""
        self._tools: list[str] = []
        self._requests: dict[str, Callable[[Client, Frame], None]] = {
            "ping": self._ping, "exec": self._exec, "wait": self._wait, "resume": self._resume,
            "interrupt": self._interrupt, "kill": self._kill, "context": self._context, "tools": self._set_tools,
            "vars": self._list_variables, "close": self._close, "look": self._look,
            "snapshot": self._snapshot, "restore": self._restore,
        }  # fmt: skip
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
                self._clients.watch()
                self._watch_worker()
        finally:
            if self._worker is not None:
                self._worker.stop()
            remove_tree(self._settings.folder)
            self._clients.close()

    def stop(self, *_: object) -> None:
        """End as if closed: for a signal. Nothing is raised, for Python drops what is raised in some places."""
        self._closed = True
        self._wake.send(b"\0")

    # Time

    def _due(self) -> float | None:
        times = [self._run.due() if self._run else None, self._end_of_idling(), self._next_count()]
        return min((at for at in times if at is not None), default=None)

    def _end_of_idling(self) -> float | None:
        alone_since = self._clients.alone_since
        if alone_since is None:
            return None
        patience = self._settings.idle_timeout_s
        return alone_since + (patience if self._failure is None else min(FAILURE_S, patience))

    def _tick(self, now: float) -> None:
        run = self._run
        if run is not None:
            if run.announce_at is not None and now >= run.announce_at:
                for frame in run.announcements():
                    self._clients.tell(frame)
            action = run.check_deadline(now)
            if action == "interrupt":
                run.worker.interrupt()
            elif action == "kill":
                message = f"the cell computed for longer than {run.timeout_s:g} s and ignored the interrupt"
                self._end_worker("TimeoutError", message)
        self._count_threads(now)
        end = self._end_of_idling()
        self._closed = self._closed or (end is not None and now >= end)

    def _next_count(self) -> float | None:
        if self._worker is None or not self._counts_threads:
            return None
        return self._counted_at + (COUNT_S if self._run else COUNT_IDLE_S)

    def _count_threads(self, now: float) -> None:
        due = self._next_count()
        if self._worker is None or due is None or now < due:
            return
        self._counted_at = now
        threads, allowed = self._worker.threads(), self._settings.max_threads
        if threads > TOO_MANY * allowed:
            self._end_worker("RuntimeError", f"the code started {threads} threads; {allowed} are allowed")

    # The worker

    def _start_worker(self) -> WorkerProcess:
        self._generation += 1
        self._cells_done = 0
        self._past.clear()
        self._given.clear()
        self._giving.clear()
        self._restoring.clear()
        worker = start_worker(self._settings, self._generation)
        self._selector.register(worker.link.sock, READ, lambda _: self._hear_worker(worker))
        for stream, pipe in worker.pipes.items():
            self._selector.register(pipe, READ, lambda _, stream=stream: self._drain(worker, stream))
        if worker.pidfd is not None:
            self._selector.register(worker.pidfd, READ, lambda _: self._worker_died(worker))
        try:
            worker.allow_memory(0)
        except OSError as error:
            self._failure = f"the memory of the worker cannot be bounded: {error.strerror}"
            worker.end()
        if self._tools:
            worker.link.send({"op": "tools", "re": 0, "tools": self._tools})
        return worker

    def _watch_worker(self) -> None:
        """Have the selector tell when the worker can take what is unsent, and not of calls that must wait."""
        worker = self._worker
        if worker is None:
            return
        full = self._run is not None and self._run.held_bytes > MAX_HELD_BYTES
        events = (0 if full else READ) | (WRITE if worker.link.wants_to_send else 0)
        key = self._selector.get_map().get(worker.link.sock)
        if key is not None and not events:
            self._selector.unregister(worker.link.sock)
        elif key is None and events:
            self._selector.register(worker.link.sock, events, lambda _: self._hear_worker(worker))
        elif key is not None and key.events != events:
            self._selector.modify(worker.link.sock, events, key.data)

    def _drain(self, worker: WorkerProcess, stream: str) -> None:
        if not worker.drain(stream):
            self._selector.unregister(worker.pipes[stream])

    def _hear_worker(self, worker: WorkerProcess) -> None:
        worker.link.flush()
        try:
            for frame in worker.link.receive():
                self._take(worker, frame)
        except (BadFrame, FrameError, KeyError, TypeError) as error:
            self._end_worker("ReplDied", f"code broke into the channel of its REPL ({error})")
            return
        if worker.link.ended:
            self._worker_died(worker)

    def _worker_died(self, worker: WorkerProcess) -> None:
        if worker is not self._worker:
            return
        with contextlib.suppress(BadFrame, FrameError, KeyError, TypeError):
            for frame in worker.link.receive():  # what it said last
                self._take(worker, frame)
        self._end_worker("ReplDied", None)

    def _take(self, worker: WorkerProcess, frame: Frame) -> None:
        """Do what a frame of the worker calls for. Raises `BadFrame`, `KeyError` or `TypeError` for nonsense."""
        event, run = frame["ev"], self._run
        if event == "call":
            # One of a cell that has ended came from a thread that it left behind.
            if run is not None and frame["cell"] == run.number:
                run.add_call(frame)
        elif event == "done":
            if run is None or frame["cell"] != run.number:
                raise BadFrame("a cell ended that does not run")
            if run.language == "bash":
                end_orphans(worker.pid)  # the shell has ended its own group; others made a session of their own
            for stream in worker.pipes:
                worker.drain(stream)
            told = run.finish(frame)
            self._cells_done = run.number
            self._past.append(run.name())
            self._finish(run, told)
            reap_orphans(worker.pid)
        elif event == "reply":
            client, re = self._asked.pop(frame["re"], (None, None))
            given = self._giving.pop(frame["re"], None)
            if given is not None and "error" not in frame:
                self._given.add(given)
            past = self._restoring.pop(frame["re"], None)
            if past is not None and "error" not in frame and frame.get("reason") is None:
                self._past = past
                self._cells_done = past[-1]["number"]
            if client is not None and "error" in frame:
                client.refuse(re, str(frame["error"]))
            elif client is not None:
                client.reply(re, **{key: frame.get(key) for key in ("variables", "snapshot", "reason")})
            if past is not None and not self._past:
                # It has contexts of a later step, and nobody knows how far the attempt came.
                self._end_worker("ReplDied", "the snapshot could not be used")
        elif event == "ready" and not worker.ready:
            worker.ready = True
            self._greet()
        elif event == "failed" and not worker.ready:
            self._failure = str(frame["message"])
        else:
            raise BadFrame(f"there is no event {event!r}")

    def _finish(self, run: CellRun, told: Frame) -> None:
        self._run = None
        line = encode(told)
        self._records.add(run.number, run.identity, line)
        self._clients.tell_line(line)
        self._clients.unfollow()

    def _end_worker(self, kind: str, message: str | None) -> None:
        """End the worker, and with it the running cell; start another, with nothing in it."""
        worker, run = self._worker, self._run
        if worker is None:
            return
        for descriptor in (worker.link.sock, worker.pidfd, *worker.pipes.values()):
            with contextlib.suppress(KeyError):
                if descriptor is not None:
                    self._selector.unregister(descriptor)
        if run is not None:
            run.measure()
        status = worker.stop()
        message = message or f"the Python process of the REPL is gone: {died_of(status)}"
        self._records.clear()
        if run is not None:
            self._finish(run, run.killed(kind, f"{message}; the REPL was ended and what the cell did is lost"))
        for client, re in self._asked.values():
            client.refuse(re, message)
        self._asked.clear()
        if worker.ready and self._failure is None:
            self._worker = self._start_worker()
            return
        self._worker = None
        self._failure = self._failure or f"the worker cannot start: {died_of(status)}"
        self._greet()

    # Requests of clients

    def _serve(self, client: Client, frame: Frame) -> None:
        request = self._requests.get(frame["op"])
        if request is None:
            raise ValueError(f"there is no request {frame['op']!r}")
        request(client, frame)

    def _forget(self, client: Client) -> None:
        self._asked = {number: asked for number, asked in self._asked.items() if asked[0] is not client}
        self._greeting = [greeting for greeting in self._greeting if greeting[0] is not client]

    def _ping(self, client: Client, frame: Frame) -> None:
        """Tell where the REPL is, as soon as there is a worker, or a reason why there is none."""
        self._host = frame.get("host", self._host)
        self._greeting.append((client, frame["re"]))
        if self._failure is not None or (self._worker is not None and self._worker.ready):
            self._greet()

    def _greet(self) -> None:
        for client, re in self._greeting:
            client.send({
                "ev": "pong", "re": re, "version": self._settings.version, "failure": self._failure,
                "generation": self._generation, "cells_done": self._cells_done,
                "past": [*self._past, *([] if self._run is None else [self._run.name()])],
            })  # fmt: skip
        self._greeting.clear()

    def _exec(self, client: Client, frame: Frame) -> None:
        """Run a cell; join it if it runs already; tell its end again if it has ended."""
        number, run = frame["cell"], self._run
        told = self._records.find(number, identity(frame))
        if told is not None and (run is None or run.number > number):
            # A turn has several cells: a host that takes it up again asks for each, while the last of them may run.
            client.send_line(told)
        elif run is not None and run.number != number:
            raise ValueError(f"the REPL is busy with cell {run.number}")
        elif run is not None and run.identity == identity(frame):
            self._follow(client, run)
        elif run is not None or number <= self._cells_done:
            # Whoever asks has another past than this namespace: no answer from it would be right.
            self._end_worker("ReplDied", "the host has another cell of this number")
            raise ValueError(f"cell {number} was another one here, so the REPL was emptied: run its cells again")
        else:
            worker = self._living()
            if self._restoring:
                raise ValueError("the REPL is being brought back from a snapshot")
            self._run = CellRun(frame, worker)
            client.following = True
            worker.link.send({key: frame[key] for key in ("op", "cell", "code", "language", "seed", "started_at")})

    def _follow(self, client: Client, run: CellRun) -> None:
        client.following = True
        for frame in run.announcements(again=True):
            client.send(frame)

    def _wait(self, client: Client, frame: Frame) -> None:
        """Tell where the last cell is: its unanswered calls and then its end, or its end again."""
        told = self._records.last()
        if self._run is not None:
            self._follow(client, self._run)
        elif told is not None:
            client.send_line(told)
        else:
            raise ValueError("no cell has run yet")

    def _resume(self, client: Client, frame: Frame) -> None:
        """Hand answers to the code. Those to calls that are answered, or of a cell that has ended, are dropped."""
        run = self._run
        if run is not None and run.number == frame["cell"] and (news := run.answer(frame["results"])):
            run.worker.link.send({"op": "results", "results": news})

    def _interrupt(self, client: Client, frame: Frame) -> None:
        if self._run is not None:
            self._run.worker.interrupt()
        client.reply(frame["re"])

    def _kill(self, client: Client, frame: Frame) -> None:
        if self._run is not None:
            self._end_worker("ReplDied", "the cell was ended from outside")
        client.reply(frame["re"])

    def _context(self, client: Client, frame: Frame) -> None:
        """Open a stored context for the worker, which may not open files itself."""
        worker, number, folder = self._living(), frame["number"], frame["folder"]
        if number in self._given:
            client.reply(frame["re"])  # a worker that waits in the middle of a cell could not say so itself
            return
        try:
            with open(os.path.join(folder, "index.json"), "rb") as file:
                index = json.load(file)
        except FileNotFoundError as error:
            client.refuse(frame["re"], f"there is no context: {error}", missing=True)
            return
        worker.allow_memory(memory_needed(index["parts"]))
        text = os.open(os.path.join(folder, "text"), os.O_RDONLY | os.O_CLOEXEC)
        job = {"op": "context", "number": number, "kind": index["kind"], "parts": index["parts"]}
        self._ask(client, frame["re"], job, [text])
        self._giving[self._asks] = number

    def _set_tools(self, client: Client, frame: Frame) -> None:
        tools = [str(tool) for tool in frame["tools"]]
        if tools == self._tools:
            client.reply(frame["re"])
            return
        self._tools = tools
        self._ask(client, frame["re"], {"op": "tools", "tools": tools})

    def _list_variables(self, client: Client, frame: Frame) -> None:
        self._ask(client, frame["re"], {"op": "vars"})

    def _snapshot(self, client: Client, frame: Frame) -> None:
        self._ask(client, frame["re"], {"op": "snapshot", "max_bytes": frame["max_bytes"]})

    def _restore(self, client: Client, frame: Frame) -> None:
        """Bring a fresh namespace to where another was: `past` says which cells that one had run."""
        past = [{"number": int(cell["number"]), "branch": str(cell["branch"])} for cell in frame["past"]]
        if self._run is not None or self._past or self._restoring or not past:
            raise ValueError("only a fresh REPL can be brought back from a snapshot")
        self._ask(client, frame["re"], {"op": "restore", "snapshot": frame["snapshot"]})
        self._restoring[self._asks] = past

    def _close(self, client: Client, frame: Frame) -> None:
        self._closed = True

    def _look(self, client: Client, frame: Frame) -> None:
        """Tell how the REPL is, to one who does not come to use it."""
        alone_since = self._clients.alone_since
        client.reply(
            frame["re"],
            host=self._host,
            idle_s=None if alone_since is None else round(time.monotonic() - alone_since, 3),
            cells_done=self._cells_done,
            cell=None if self._run is None else self._run.number,
        )

    def _ask(self, client: Client, re: Any, job: Frame, descriptors: Sequence[int] = ()) -> None:
        """Have the worker do something when it is free, and pass on what it replies."""
        worker = self._living()
        self._asks += 1
        self._asked[self._asks] = (client, re)
        worker.send({**job, "re": self._asks}, descriptors)

    def _living(self) -> WorkerProcess:
        if self._worker is None:
            raise ValueError(self._failure)
        return self._worker
