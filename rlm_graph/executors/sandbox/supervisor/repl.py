"""A REPL, as its supervisor keeps it: the worker, the cell that it runs, and what was told of those before."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Callable, Sequence
from typing import Any

from rlm_graph.executors.sandbox.frames import MAX_VALUE, Frame, FrameError, encode
from rlm_graph.executors.sandbox.supervisor.cell_run import BadFrame, CellRun
from rlm_graph.executors.sandbox.supervisor.clients import READ, WRITE, Client, Clients
from rlm_graph.executors.sandbox.supervisor.process import WorkerProcess, died_of, end_orphans, reap_orphans
from rlm_graph.executors.sandbox.supervisor.program import start_worker
from rlm_graph.executors.sandbox.supervisor.records import Records
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings

MAX_HELD_BYTES = 2 * MAX_VALUE
"""Of unanswered calls. Beyond it the worker is not read from until some are answered."""


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
        self._asked: dict[int, tuple[Client, Any]] = {}
        self._asks = 0
        self.worker: WorkerProcess | None = self._start_worker()

    def ask(self, client: Client, re: Any, job: Frame, descriptors: Sequence[int] = ()) -> int:
        """Have the worker do something when it is free, and pass on what it replies. Returns the number of the job."""
        worker = self.living()
        self._asks += 1
        self._asked[self._asks] = (client, re)
        worker.send({**job, "re": self._asks}, descriptors)
        return self._asks

    def living(self) -> WorkerProcess:
        """Return the worker. Raises `ValueError`, with the reason, if there is none."""
        if self.worker is None:
            raise ValueError(self.failure)
        return self.worker

    def forget(self, client: Client) -> None:
        """Note that a client is gone: what it asked for is told to nobody."""
        self._asked = {number: asked for number, asked in self._asked.items() if asked[0] is not client}

    def watch(self) -> None:
        """Have the selector tell when the worker can take what is unsent, and not of calls that must wait."""
        worker = self.worker
        if worker is None:
            return
        full = self.run is not None and self.run.held_bytes > MAX_HELD_BYTES
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
            for answer in self.run.passed_on(now):
                self.run.worker.link.send({"op": "results", "results": [answer]})

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
        for client, re in self._asked.values():
            client.refuse(re, message)
        self._asked.clear()
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
                self._take(worker, frame)
        except (BadFrame, FrameError, KeyError, TypeError) as error:
            self.end_worker("ReplDied", f"code broke into the channel of its REPL ({error})")
            return
        if worker.link.ended:
            self._worker_died(worker)

    def _worker_died(self, worker: WorkerProcess) -> None:
        if worker is not self.worker:
            return
        with contextlib.suppress(BadFrame, FrameError, KeyError, TypeError):
            for frame in worker.link.receive():  # what it said last
                self._take(worker, frame)
        self.end_worker("ReplDied", None)

    def _take(self, worker: WorkerProcess, frame: Frame) -> None:
        """Do what a frame of the worker calls for. Raises `BadFrame`, `KeyError` or `TypeError` for nonsense."""
        event, run = frame["ev"], self.run
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
            self.cells_done = run.number
            self.past.append(run.name())
            self._finish(run, told)
            reap_orphans(worker.pid)
        elif event == "reply":
            client, re = self._asked.pop(frame["re"], (None, None))
            given = self.giving.pop(frame["re"], None)
            if given is not None and "error" not in frame:
                self.given.add(given)
            past = self.restoring.pop(frame["re"], None)
            if past is not None and "error" not in frame and frame.get("reason") is None:
                self.past = past
                self.cells_done = past[-1]["number"]
            if client is not None and "error" in frame:
                client.refuse(re, str(frame["error"]))
            elif client is not None:
                client.reply(re, **{key: frame.get(key) for key in ("variables", "snapshot", "reason")})
            if past is not None and not self.past:
                # It has contexts of a later step, and nobody knows how far the attempt came.
                self.end_worker("ReplDied", "the snapshot could not be used")
        elif event == "ready" and not worker.ready:
            worker.ready = True
            self._settled()
        elif event == "failed" and not worker.ready:
            self.failure = str(frame["message"])
        else:
            raise BadFrame(f"there is no event {event!r}")

    def _finish(self, run: CellRun, told: Frame) -> None:
        self.run = None
        line = encode(told)
        self.records.add(run.number, run.identity, line)
        self._clients.tell_line(line)
        self._clients.unfollow()
