"""Trials: a run under the real command, stopped at chosen events and resumed in new processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.faults.commands import Host, Nursery
from tests.faults.counting import ModelServer, Request
from tests.faults.fuse import Fuse
from tests.faults.injector import CLOCK
from tests.faults.outcome import Outcome
from tests.faults.places import Containers, Folders, Place
from tests.faults.scenarios import Scenario
from tests.faults.script import MARK, model_of

RUN = "mine"
CONTEXT = "It was a dark and stormy night.\n" * 100
ENDED_BY_SIGNAL = (-signal.SIGKILL, 130)
USAGE = ("turns", "subcalls", "input_tokens", "output_tokens", "cost_usd")


class Lane:
    """A nursery, a model server and a folder, in which one trial follows another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nursery = Nursery()
        self.server = ModelServer(folder)
        self._trials = 0
        self._undisturbed: dict[str, Outcome] = {}

    def undisturbed(self, scenario: Scenario) -> Outcome:
        """Return the outcome of the scenario without any kill, found once."""
        if scenario.name not in self._undisturbed:
            self._undisturbed[scenario.name] = self.run(scenario)
        return self._undisturbed[scenario.name]

    def run(
        self,
        scenario: Scenario,
        kills: Sequence[int] = (),
        *,
        times: Sequence[float] = (),
        clocks: Sequence[float] = (),
        lose_repl: bool = False,
    ) -> Outcome:
        """Run the scenario, kill the host at the events of those numbers, and resume it each time.

        It is killed so many seconds after the start of its first lives too, if there are `times`. The clocks of its
        lives are wrong by so many seconds, if there are `clocks`. `lose_repl`: the processes of its REPL are killed
        with it, as by a reboot.
        """
        with self.trial(scenario) as trial:
            trial.clocks = clocks
            return trial.run(dict.fromkeys(kills, signal.SIGKILL), times=times, lose_repl=lose_repl)

    @contextmanager
    def trial(self, scenario: Scenario) -> Iterator[Trial]:
        """A run of the scenario that has not begun yet. All of it is removed in the end."""
        self._trials += 1
        trial = Trial(self, scenario, f"{self._trials:04}")
        try:
            yield trial
        finally:
            trial.clear()

    def close(self) -> None:
        """End what was started."""
        self.nursery.close()
        self.server.close()


@contextmanager
def lane() -> Iterator[Lane]:
    """A lane in a temporary folder, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="rlm-faults-") as folder:
        opened = Lane(Path(folder))
        try:
            yield opened
        finally:
            opened.close()


class Trial:
    """One run, from its first process to its last."""

    def __init__(self, lane: Lane, scenario: Scenario, name: str) -> None:
        self.scenario = scenario
        self.folder = lane.folder / name
        self.folder.mkdir()
        (self.folder / "context.txt").write_text(CONTEXT)
        self.fuse = Fuse(self.folder)
        self.db = self.folder / "data" / "runs.sqlite"
        self.tmp = self.folder / "tmp"
        """Where commands put what is temporary."""
        self.tmp.mkdir()
        self.place: Place = Containers(self.folder) if scenario.executor == "docker" else Folders(self.folder)
        """Where its REPLs are."""
        self.url = lane.server.url
        self._lane = lane
        self._model = model_of(scenario.name, name)
        self._since = lane.server.end_of_log
        self.lives = 0
        self.clocks: Sequence[float] = ()
        """Seconds by which the clock of each life is wrong; of those beyond, as much as the last."""

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the next command."""
        off_s = self.clocks[min(self.lives, len(self.clocks)) - 1] if self.clocks else 0.0
        price = {f"openai/{self._model}": {"input_usd": 1, "output_usd": 2}}
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.tmp),
            "NO_PROXY": "127.0.0.1", "OPENAI_API_KEY": "sk-test", "OPENAI_PROJECT_ID": str(self.lives),
            "RLM_MODELS__STREAM": "true",  # a reply that is half there is one of the moments
            "RLM_DATA_DIR": str(self.folder / "data"), "RLM_MODEL": f"openai/{self._model}",
            "RLM_DB": str(self.db), "RLM_MODELS__BASE_URL": self.url, "RLM_MODELS__PROFILE": "standard",
            "RLM_MODELS__PRICES": json.dumps(price), "RLM_PROTOCOL": self.scenario.protocol,
            CLOCK: str(off_s), **self.place.environment(),
        }  # fmt: skip

    def start(self, *args: str, fuse: bool = False) -> Host:
        """Start the command in a new process."""
        self.lives += 1
        name = f"life-{self.lives}"
        return self._lane.nursery.start(*args, folder=self.folder, name=name, env=self.environment(), fuse=fuse)

    def next(self) -> tuple[str, ...]:
        """Return the command that takes the run to its end from where it is: `resume` if there is a run already."""
        if self.is_recorded():
            return "resume", RUN, "--json"
        return "run", "What is it?", "-c", "context.txt", "--thread", RUN, "--json"

    def run(
        self, signals: Mapping[int, signal.Signals], *, times: Sequence[float] = (), lose_repl: bool = False
    ) -> Outcome:
        """Start it, send it these signals at the events of those numbers, and resume it until it ends by itself.

        Its first lives are killed at these `times` too, in seconds after the start of each.
        """
        self.fuse.lay(signals)
        outcome = Outcome()
        left = list(times)
        while self._lived(self.begin(), outcome, left.pop(0) if left else None) in ENDED_BY_SIGNAL:
            if lose_repl:
                self.place.kill()
        return outcome

    def _lived(self, host: Host, outcome: Outcome, killed_after_s: float | None) -> int:
        if killed_after_s is None:
            return self.ended(host, outcome)

        def kill() -> None:
            with suppress(ProcessLookupError):  # it has just ended
                host.send(signal.SIGKILL)

        timer = threading.Timer(killed_after_s, kill)
        timer.start()
        try:
            return self.ended(host, outcome)
        finally:
            timer.cancel()
            timer.join()

    def begin(self, signals: Mapping[int, signal.Signals] | None = None) -> Host:
        """Start the command that takes the run to its end from where it is."""
        if signals is not None:
            self.fuse.lay(signals)
        return self.start(*self.next(), fuse=True)

    def ended(self, host: Host, outcome: Outcome) -> int:
        """Wait for the end of a process, note what became of the run, and return the process's status."""
        begun = time.monotonic()
        status = host.wait()
        self.fuse.dead()
        outcome.took_s += time.monotonic() - begun
        outcome.statuses.append(status)
        outcome.said.append(host.stderr)
        outcome.events = self.fuse.events()
        outcome.requests = self.requests()
        outcome.left = self.place.repls()
        outcome.failure = ""
        if status == 0:
            report = json.loads(host.stdout)
            outcome.answer = report["answer"]
            outcome.usage = {name: round(report["usage"][name], 9) for name in USAGE}
            return status
        outcome.records.append((self.lives, self.recorded()))
        outcome.failure = f"a command ended with {status}:\n{host.stderr}"
        return status

    def requests(self) -> list[Request]:
        """Return the requests that the server has counted."""
        return self._lane.server.requests(self._model, self._since)

    def is_recorded(self) -> bool:
        """Whether the database knows the run."""
        with suppress(sqlite3.Error):
            return bool(self._select("SELECT id FROM runs"))
        return False

    def recorded(self) -> set[int]:
        """Return the numbers of the requests whose reply is in the database."""
        try:
            rows = self._select("SELECT value FROM writes UNION ALL SELECT checkpoint FROM checkpoints")
        except sqlite3.Error:  # it was killed before there were tables
            return set()
        return {int(mark) for (blob,) in rows for mark in MARK.findall(bytes(blob).decode("latin-1"))}

    def clear(self) -> None:
        """Remove all of it."""
        self.place.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _select(self, query: str) -> list[Any]:
        """Read a copy: to open the database itself would repair what the next process is to find as it is."""
        with tempfile.TemporaryDirectory(prefix="rlm-faults-") as folder:
            for name in ("", "-wal"):
                with suppress(FileNotFoundError):
                    shutil.copy(f"{self.db}{name}", f"{folder}/copy{name}")
            connection = sqlite3.connect(f"{folder}/copy")
            try:
                return connection.execute(query).fetchall()
            finally:
                connection.close()
