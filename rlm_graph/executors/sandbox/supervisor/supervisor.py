"""The supervisor: owns the control socket, the clock and the worker of one REPL, and outlives its owner.

It never runs a model's code. What the worker says is data to be checked; what clients say comes from the REPL's own
user, whom the kernel vouches for.
"""

from __future__ import annotations

import os
import selectors
import socket
import time

from rlm_graph.executors.sandbox.supervisor.clients import READ
from rlm_graph.executors.sandbox.supervisor.process import prepare_supervisor
from rlm_graph.executors.sandbox.supervisor.removal import remove_tree
from rlm_graph.executors.sandbox.supervisor.repl import STUCK
from rlm_graph.executors.sandbox.supervisor.requests import Requests
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings

FAILURE_S = 30.0
"""Seconds that a supervisor without a worker waits for an owner to tell it why."""
COUNT_S, COUNT_IDLE_S = 0.05, 0.5
"""How often threads are counted, while a cell runs and between cells, where those left behind may start more."""
SELECTOR_S = 0.001
"""Seconds that a selector waits at least: it counts in milliseconds. Less is slept."""
TOO_MANY = 4
"""Times `max_threads`: code that starts only a few too many keeps its variables."""


class Supervisor:
    """One REPL, driven by what happens on its descriptors and by its clock."""

    def __init__(self, settings: SupervisorSettings, listener: socket.socket) -> None:
        prepare_supervisor()
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._woken, READ, lambda _: self._woken.recv(1))
        # The kernel bounds the threads of every user but root, who may start them until the machine has no more.
        self._counts_threads = os.getuid() == 0 and settings.confined and settings.user is None
        self._counted_at = 0.0
        self._requests = Requests(settings, listener, self._selector)
        self._repl, self._clients = self._requests.repl, self._requests.clients

    def serve(self) -> None:
        """Work until the REPL is closed or has had no client for `idle_timeout_s`; then remove its folder."""
        try:
            while not self._requests.closed:
                due = self._due()
                timeout = None if due is None else max(0.0, due - time.monotonic())
                if timeout is not None and 0 < timeout < SELECTOR_S:
                    time.sleep(timeout)
                    timeout = 0.0
                for key, events in self._selector.select(timeout):
                    # What an earlier one of these closed is registered no more.
                    if self._selector.get_map().get(key.fd) is key:
                        key.data(events)
                self._tick(time.monotonic())
                self._clients.watch()
                self._repl.watch()
        finally:
            if self._repl.worker is not None:
                self._repl.worker.stop()
            remove_tree(self._settings.folder)
            self._clients.close()

    def stop(self, *_: object) -> None:
        """End as if closed: for a signal. Nothing is raised, for Python drops what is raised in some places."""
        self._requests.closed = True
        self._wake.send(b"\0")

    # Time

    def _due(self) -> float | None:
        times = [self._repl.due(), self._end_of_idling(), self._next_count()]
        return min((at for at in times if at is not None), default=None)

    def _end_of_idling(self) -> float | None:
        alone_since = self._clients.alone_since
        if alone_since is None:
            return None
        patience = self._settings.idle_timeout_s
        return alone_since + (patience if self._repl.failure is None else min(FAILURE_S, patience))

    def _tick(self, now: float) -> None:
        run = self._repl.run
        if run is not None:
            if run.announce_at is not None and now >= run.announce_at:
                for frame in run.announcements():
                    self._clients.tell(frame)
            self._repl.pass_on(now)
            action = run.check_deadline(now)
            if action == "interrupt":
                run.worker.interrupt()
            elif action == "kill":
                message = f"the cell computed for longer than {run.timeout_s:g} s and ignored the interrupt"
                self._repl.end_worker("TimeoutError", message)
            elif action == "stuck":
                self._repl.end_worker("TimeoutError", STUCK)
        self._repl.check_jobs(now)
        self._count_threads(now)
        end = self._end_of_idling()
        self._requests.closed = self._requests.closed or (end is not None and now >= end)

    def _next_count(self) -> float | None:
        if self._repl.worker is None or not self._counts_threads:
            return None
        return self._counted_at + (COUNT_S if self._repl.run else COUNT_IDLE_S)

    def _count_threads(self, now: float) -> None:
        due = self._next_count()
        if self._repl.worker is None or due is None or now < due:
            return
        self._counted_at = now
        threads, allowed = self._repl.worker.threads(), self._settings.max_threads
        if threads > TOO_MANY * allowed:
            self._repl.end_worker("RuntimeError", f"the code started {threads} threads; {allowed} are allowed")
