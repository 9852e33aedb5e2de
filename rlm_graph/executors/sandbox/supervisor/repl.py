"""A REPL, as its supervisor keeps it: the worker, the cell that it runs, and what was told of those before."""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rlm_graph.executors.sandbox.frames import MAX_REASON, MAX_VALUE_ITEMS, Frame, FrameError
from rlm_graph.executors.sandbox.supervisor.cell_run import BadFrame, CellRun
from rlm_graph.executors.sandbox.supervisor.clients import READ, WRITE, Client, Clients
from rlm_graph.executors.sandbox.supervisor.process import WorkerProcess, died_of, end_orphans, reap_orphans
from rlm_graph.executors.sandbox.supervisor.program import start_worker
from rlm_graph.executors.sandbox.supervisor.records import Records
from rlm_graph.executors.sandbox.supervisor.reports import checked_reply, failed_reply, fitting_line
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings

MAX_HELD_BYTES, MAX_HELD_ITEMS = 64 << 20, MAX_VALUE_ITEMS
"""Of unanswered calls, in all. Beyond it the worker is not read from until some are answered."""
MAX_UNREAD_BYTES = 128 << 20
"""Of what waits until the worker has read what came before it. Beyond it the worker is ended."""
JOB_S = {"check": 10.0, "vars": 10.0, "tools": 10.0, "snapshot": 100.0, "restore": 100.0, "context": 580.0}
"""Seconds that a worker which runs no cell has for each kind of job: less than their owner waits."""

STUCK = "something that the code left behind holds the interpreter, so that it can do nothing else"

_NONSENSE = (BadFrame, FrameError, KeyError, TypeError, ValueError, AttributeError, RecursionError, MemoryError)
"""What is raised by frames that no worker of ours sends."""


class _Asked(NamedTuple):
    """A job of the worker, for a client or, without one, for the supervisor itself."""

    client: Client | None
    re: Any
    job: Frame
    since: float


class KeptRepl:
    """Hears what the worker says, which is data to be checked, and tells the clients of it.

    A worker that is gone is followed by another, with nothing in it, unless it could not even start: then `failure`
    says why, and there is none.
    """

    def __init__(
        self,
        settings: SupervisorSettings,
        selector: selectors.BaseSelector,
        clients: Clients,
        *,
        settled: Callable[[], None],
    ) -> None:
        """`settled` is called when the worker is ready, and when there will be none."""
        self._settings = settings
        self._selector = selector
        self._clients = clients
        self._settled = settled
        self.generation = 0
        self.cells_done = 0
        self.past: list[Frame] = []
        self.run: CellRun | None = None
        self.records = Records()
        self.failure: str | None = None
        self.tools: list[str] = []
        self.given: set[int] = set()
        """Contexts that the namespace has."""
        self.giving: dict[int, int] = {}
        self.restoring: dict[int, list[Frame]] = {}
        """What the namespace will hold the effects of, by the number of the job."""
        self.variables: list[Frame] | None = None
        """Those that there were at the end of the last cell, while nothing has been asked of the worker since."""
        self._asked: dict[int, _Asked] = {}
        self._asks = 0
        self._free_since = 0.0
        """Since when no cell runs (monotonic)."""
        self.worker: WorkerProcess | None = self._start_worker()

    def ask(self, client: Client | None, re: Any, job: Frame, descriptors: Sequence[int] = ()) -> int:
        """Have the worker do something when it is free, and pass on what it replies. Returns the number of the job."""
        worker = self.living()
        self._asks += 1
        kept = {key: value for key, value in job.items() if key != "snapshot" or job["op"] == "snapshot"}
        self._asked[self._asks] = _Asked(client, re, kept, time.monotonic())
        self.variables = None
        worker.send({**job, "re": self._asks}, descriptors)
        return self._asks

    def begin(self, run: CellRun, job: Frame) -> None:
        """Have the worker run a cell."""
        run.worker.link.send(job)
        self.variables = None
        self.run = run

    def due(self) -> float | None:
        """When something has to be done next (monotonic)."""
        times = [self._job_due(asked) for asked in self._asked.values()]
        times.append(None if self.run is None else self.run.due())
        return min((at for at in times if at is not None), default=None)

    def check_jobs(self, now: float) -> None:
        """End a worker that does not do what it was asked for: something that a cell left holds its interpreter."""
        for asked in list(self._asked.values()):
            due = self._job_due(asked)
            if due is not None and now >= due:
                self.end_worker("ReplDied", f"{STUCK} ({asked.job['op']} took over {JOB_S[asked.job['op']]:g} s)")
                return

    def _job_due(self, asked: _Asked) -> float | None:
        """When the worker must have done a job. A cell that runs comes first, and has a clock of its own."""
        return None if self.run is not None else max(asked.since, self._free_since) + JOB_S[asked.job["op"]]

    def living(self) -> WorkerProcess:
        """Return the worker. Raises `ValueError`, with the reason, if there is none."""
        if self.worker is None:
            raise ValueError(self.failure)
        return self.worker

    def forget(self, client: Client) -> None:
        """Note that a client is gone: what it asked for is told to nobody."""
        for number, asked in list(self._asked.items()):
            if asked.client is client:
                self._asked[number] = asked._replace(client=None)

    def watch(self) -> None:
        """Have the selector tell when the worker can take what is unsent, and not of calls that must wait."""
        if self.worker is not None and self.worker.link.waiting_bytes > MAX_UNREAD_BYTES:
            self.end_worker("ReplDied", "the code did not read what its calls were answered")
        worker = self.worker
        if worker is None:
            return
        run = self.run
        full = run is not None and (run.held_bytes > MAX_HELD_BYTES or run.held_items > MAX_HELD_ITEMS)
        events = (0 if full else READ) | (WRITE if worker.link.wants_to_send else 0)
        key = self._selector.get_map().get(worker.link.sock)
        if key is not None and not events:
            self._selector.unregister(worker.link.sock)
        elif key is None and events:
            self._selector.register(worker.link.sock, events, lambda _: self._hear_worker(worker))
        elif key is not None and key.events != events:
            self._selector.modify(worker.link.sock, events, key.data)

    def pass_on(self, now: float) -> None:
        """Give the code the answers that are due."""
        if self.run is not None:
            for line in self.run.passed_on(now):
                self.run.worker.link.send_line(line)

    def end_worker(self, kind: str, message: str | None) -> None:
        """End the worker, and with it the running cell; start another, with nothing in it."""
        worker, run = self.worker, self.run
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
        self.records.clear()
        if run is not None:
            self._finish(run, run.killed(kind, f"{message}; the REPL was ended and what the cell did is lost"))
        asked, self._asked = list(self._asked.values()), {}
        self.variables = None
        for each in asked:
            # The next worker is told of the tools as it starts.
            self._reply(each, {} if each.job["op"] == "tools" else failed_reply(each.job, message))
        if worker.ready and self.failure is None:
            self.worker = self._start_worker()
            return
        self.worker = None
        self.failure = self.failure or f"the worker cannot start: {died_of(status)}"
        self._settled()

    def _start_worker(self) -> WorkerProcess:
        self.generation += 1
        self.cells_done = 0
        self.past.clear()
        self.given.clear()
        self.giving.clear()
        self.restoring.clear()
        worker = start_worker(self._settings, self.generation)
        self._selector.register(worker.link.sock, READ, lambda _: self._hear_worker(worker))
        for stream, pipe in worker.pipes.items():
            self._selector.register(pipe, READ, lambda _, stream=stream: self._drain(worker, stream))
        if worker.pidfd is not None:
            self._selector.register(worker.pidfd, READ, lambda _: self._worker_died(worker))
        try:
            worker.allow_memory(0)
        except OSError as error:
            self.failure = f"the memory of the worker cannot be bounded: {error.strerror}"
            worker.end()
        if self.tools:
            worker.link.send({"op": "tools", "re": 0, "tools": self.tools})
        return worker

    def _drain(self, worker: WorkerProcess, stream: str) -> None:
        if not worker.drain(stream):
            self._selector.unregister(worker.pipes[stream])

    def _hear_worker(self, worker: WorkerProcess) -> None:
        worker.link.flush()
        try:
            for frame in worker.link.receive():
                if worker is not self.worker:
                    return
                self._take(worker, frame)
        except _NONSENSE as error:
            if worker is self.worker:
                self.end_worker("ReplDied", f"code broke into the channel of its REPL ({str(error)[:200]})")
            return
        if worker.link.ended:
            self._worker_died(worker)

    def _worker_died(self, worker: WorkerProcess) -> None:
        if worker is not self.worker:
            return
        with contextlib.suppress(*_NONSENSE):
            for frame in worker.link.receive():  # what it said last
                if worker is self.worker:
                    self._take(worker, frame)
        if worker is self.worker:
            self.end_worker("ReplDied", None)

    def _take(self, worker: WorkerProcess, frame: Frame) -> None:
        """Do what a frame of the worker calls for. Raises `BadFrame`, `KeyError` or `TypeError` for nonsense."""
        event, run = frame["ev"], self.run
        if event == "call":
            # One of a cell that has ended came from a thread that it left behind.
            if run is not None and frame["cell"] == run.number:
                run.add_call(frame)
        elif event == "text":
            if run is not None and frame["cell"] == run.number:
                run.add_text(frame)
        elif event == "done":
            if run is None or frame["cell"] != run.number or run.told is not None:
                raise BadFrame("a cell ended that does not run")
            if run.language == "bash":
                end_orphans(worker.pid)  # the shell has ended its own group; others made a session of their own
            for stream in worker.pipes:
                worker.drain(stream)
            run.finish(frame)
            self._check(worker)
        elif event == "reply":
            self._take_reply(worker, frame)
        elif event == "ready" and not worker.ready:
            worker.ready = True
            self._settled()
        elif event == "failed":
            message = str(frame["message"])[:MAX_REASON]
            if worker.ready:  # code has changed what the worker itself needs
                self.end_worker("ReplDied", f"the REPL cannot work any more: {message}")
            else:
                self.failure = message
        else:
            raise BadFrame(f"there is no event {event!r}")

    def _take_reply(self, worker: WorkerProcess, frame: Frame) -> None:
        number = frame["re"]
        asked = self._asked.get(number)
        reply = {} if asked is None else checked_reply(asked.job, frame)
        self._asked.pop(number, None)
        given, past = self.giving.pop(number, None), self.restoring.pop(number, None)
        if given is not None and "error" not in frame:
            self.given.add(given)
        if past is not None and "error" not in frame and frame.get("reason") is None:
            self.past = past
            self.cells_done = past[-1]["number"]
        if asked is not None:
            self._reply(asked, reply)
            if asked.re is _CHECK and "error" in frame:
                self.end_worker(
                    "ReplDied",
                    f"the code has left a REPL that can run no other cell ({str(frame['error'])[:MAX_REASON]})",
                )
            elif asked.re is _CHECK:
                self._checked(worker, reply["variables"])
        if past is not None and not self.past:
            # It has contexts of a later step, and nobody knows how far the attempt came.
            self.end_worker("ReplDied", "the snapshot could not be used")

    def _check(self, worker: WorkerProcess) -> None:
        """Have the worker show, before the end of its cell is told, that it can run another one."""
        self.ask(None, _CHECK, {"op": "check"})

    def _checked(self, worker: WorkerProcess, variables: list[Frame]) -> None:
        run = self.run
        if run is None or run.told is None:
            return
        self.cells_done = run.number
        self.past.append(run.name())
        self._finish(run, run.told)
        self.variables = variables
        reap_orphans(worker.pid)

    def _reply(self, asked: _Asked, reply: Frame) -> None:
        """Pass a reply on, as the client expects it: with each field, whatever was asked for."""
        if asked.client is None:
            return
        if "error" in reply:
            asked.client.refuse(asked.re, reply["error"])
        else:
            asked.client.reply(asked.re, **{key: reply.get(key) for key in ("variables", "snapshot", "reason")})

    def _finish(self, run: CellRun, told: Frame) -> None:
        line = fitting_line(told)
        self.run = None
        self._free_since = time.monotonic()
        self.records.add(run.number, run.identity, line)
        self._clients.tell_line(line)
        self._clients.unfollow()


_CHECK = object()
"""What the supervisor's own question is known by."""
