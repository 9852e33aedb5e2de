"""What clients ask of a REPL, a method for each request. All clients are of the REPL's own user, says the kernel."""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

from rlm_graph.executors.sandbox.frames import Frame
from rlm_graph.executors.sandbox.spans import span
from rlm_graph.executors.sandbox.supervisor.cell_run import CellRun, identity
from rlm_graph.executors.sandbox.supervisor.clients import Client, Clients
from rlm_graph.executors.sandbox.supervisor.repl import KeptRepl
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings
from rlm_graph.executors.sandbox.worker.context import memory_needed


class Requests:
    """Starts a REPL, and serves the requests of those who connect."""

    def __init__(self, settings: SupervisorSettings, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        self._settings = settings
        self.closed = False
        """Whether one of them has asked for the end."""
        self._owner: Any = None
        """What the owner that came last said of itself."""
        self._greeting: list[tuple[Client, Any]] = []
        self._requests: dict[str, Callable[[Client, Frame], None]] = {
            "ping": self._ping, "exec": self._exec, "wait": self._wait, "resume": self._resume,
            "interrupt": self._interrupt, "kill": self._kill, "context": self._context, "tools": self._set_tools,
            "vars": self._list_variables, "close": self._close, "look": self._look, "progress": self._progress,
            "snapshot": self._snapshot, "restore": self._restore, "text": self._text,
        }  # fmt: skip
        self.clients = Clients(listener, selector, serve=self._serve, left=self._forget)
        self.repl = KeptRepl(settings, selector, self.clients, settled=self._greet)

    def _serve(self, client: Client, frame: Frame) -> None:
        request = self._requests.get(frame["op"])
        if request is None:
            raise ValueError(f"there is no request {frame['op']!r}")
        request(client, frame)

    def _forget(self, client: Client) -> None:
        self._greeting = [greeting for greeting in self._greeting if greeting[0] is not client]
        self.repl.forget(client)

    def _ping(self, client: Client, frame: Frame) -> None:
        """Tell where the REPL is, as soon as there is a worker, or a reason why there is none."""
        self._owner = frame.get("host", self._owner)
        self._greeting.append((client, frame["re"]))
        if self.repl.failure is not None or (self.repl.worker is not None and self.repl.worker.ready):
            self._greet()

    def _greet(self) -> None:
        for client, re in self._greeting:
            client.send({
                "ev": "pong", "re": re, "version": self._settings.version, "failure": self.repl.failure,
                "generation": self.repl.generation, "cells_done": self.repl.cells_done,
                "past": [*self.repl.past, *([] if self.repl.run is None else [self.repl.run.name()])],
            })  # fmt: skip
        self._greeting.clear()

    def _exec(self, client: Client, frame: Frame) -> None:
        """Run a cell; join it if it runs already; tell its end again if it has ended."""
        number, run = frame["cell"], self.repl.run
        told = self.repl.records.find(number, identity(frame))
        if told is not None and (run is None or run.number > number):
            # A turn has several cells: an owner that takes it up again asks for each, while the last of them may run.
            client.send_line(told)
        elif run is not None and run.number != number:
            raise ValueError(f"the REPL is busy with cell {run.number}")
        elif run is not None and run.identity == identity(frame):
            self._follow(client, run)
        elif run is not None or number <= self.repl.cells_done:
            # Whoever asks has another past than this namespace: no answer from it would be right.
            self.repl.end_worker("ReplDied", "the host has another cell of this number")
            raise ValueError(f"cell {number} was another one here, so the REPL was emptied: run its cells again")
        else:
            worker = self.repl.living()
            if self.repl.restoring:
                raise ValueError("the REPL is being brought back from a snapshot")
            client.following = True
            run = CellRun(frame, worker, folder=self._settings.sent_folder or self._settings.folder)
            job = {key: frame[key] for key in ("op", "cell", "code", "language", "seed", "started_at")}
            self.repl.begin(run, {**job, "readings": run.readings, "ahead": int(frame.get("ahead", 0))})

    def _follow(self, client: Client, run: CellRun) -> None:
        client.following = True
        for frame in run.announcements(again=True):
            client.send(frame)

    def _wait(self, client: Client, frame: Frame) -> None:
        """Tell where the last cell is: its unanswered calls and then its end, or its end again."""
        told = self.repl.records.last()
        if self.repl.run is not None:
            self._follow(client, self.repl.run)
        elif told is not None:
            client.send_line(told)
        else:
            raise ValueError("no cell has run yet")

    def _resume(self, client: Client, frame: Frame) -> None:
        """Hand answers to the code. Those to calls that are answered, or of a cell that has ended, are dropped."""
        run = self.repl.run
        if run is not None and run.number == frame["cell"]:
            run.hold(frame["results"])
            self.repl.pass_on(time.monotonic())

    def _progress(self, client: Client, frame: Frame) -> None:
        """Tell how far the running cell is; nothing if none runs."""
        run = self.repl.run
        told = {} if run is None else run.progress(answered=bool(frame.get("answered")))
        client.reply(frame["re"], cell=None if run is None else run.number, **told)

    def _text(self, client: Client, frame: Frame) -> None:
        """Give some of what code sent beside a call; nothing of a call that is answered."""
        run = self.repl.run
        there = run is not None and run.number == frame["cell"]
        client.reply(frame["re"], data=run.text(frame["call"], frame["at"]) if run is not None and there else "")

    def _interrupt(self, client: Client, frame: Frame) -> None:
        if self.repl.run is not None:
            self.repl.run.worker.interrupt()
        client.reply(frame["re"])

    def _kill(self, client: Client, frame: Frame) -> None:
        if self.repl.run is not None:
            self.repl.end_worker("ReplDied", "the cell was ended from outside")
        client.reply(frame["re"])

    def _context(self, client: Client, frame: Frame) -> None:
        """Open a stored context for the worker, which may not open files itself."""
        worker, number, folder = self.repl.living(), frame["number"], frame["folder"]
        if number in self.repl.given:
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
        at, size, parts = span(index["parts"])
        job = {"op": "context", "number": number, "kind": index["kind"], "parts": parts, "at": at, "bytes": size}
        self.repl.giving[self.repl.ask(client, frame["re"], job, [text])] = number

    def _set_tools(self, client: Client, frame: Frame) -> None:
        tools = [str(tool) for tool in frame["tools"]]
        if tools == self.repl.tools:
            client.reply(frame["re"])
            return
        self.repl.tools = tools
        self.repl.ask(client, frame["re"], {"op": "tools", "tools": tools})

    def _list_variables(self, client: Client, frame: Frame) -> None:
        if self.repl.variables is not None:
            client.reply(frame["re"], variables=self.repl.variables, snapshot=None, reason=None)
            return
        self.repl.ask(client, frame["re"], {"op": "vars"})

    def _snapshot(self, client: Client, frame: Frame) -> None:
        if not self.repl.past:  # those who ask know of cells that went with their worker
            client.reply(frame["re"], variables=None, snapshot=None, reason="the REPL has run no cell")
            return
        self.repl.ask(client, frame["re"], {"op": "snapshot", "max_bytes": int(frame["max_bytes"])})

    def _restore(self, client: Client, frame: Frame) -> None:
        """Bring a fresh namespace to where another was: `past` says which cells that one had run."""
        past = [{"number": int(cell["number"]), "branch": str(cell["branch"])} for cell in frame["past"]]
        if self.repl.run is not None or self.repl.past or self.repl.restoring or not past:
            raise ValueError("only a fresh REPL can be brought back from a snapshot")
        job = {"op": "restore", "snapshot": frame["snapshot"]}
        self.repl.restoring[self.repl.ask(client, frame["re"], job)] = past

    def _close(self, client: Client, frame: Frame) -> None:
        self.closed = True

    def _look(self, client: Client, frame: Frame) -> None:
        """Tell how the REPL is, to one who does not come to use it."""
        alone_since = self.clients.alone_since
        client.reply(
            frame["re"],
            host=self._owner,
            idle_s=None if alone_since is None else round(time.monotonic() - alone_since, 3),
            cells_done=self.repl.cells_done,
            cell=None if self.repl.run is None else self.repl.run.number,
        )
