"""The scripted server as a process that outlives every kill, and what it has counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_graph.testing.script import text_of
from tests.faults.commands import ROOT
from tests.faults.script import TRIALS, plain


class ModelServer:
    """The scripted server, in a process of its own that outlives every kill."""

    def __init__(self, trials: Path) -> None:
        self._log = trials / "requests.jsonl"
        self._log.touch()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rlm_graph.testing", "--script", "tests.faults.script", "--log", self._log],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, TRIALS: str(trials)},
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().rpartition(" ")[2].strip()

    @property
    def end_of_log(self) -> int:
        """Where the log ends now, in bytes."""
        return self._log.stat().st_size

    def requests(self, model: str, since: int) -> list[Request]:
        """Return the requests for a model, from that place of the log on."""
        with self._log.open("rb") as file:
            file.seek(since)
            entries = [json.loads(line) for line in file.read().splitlines()]
        return [Request.of(entry) for entry in entries if entry["model"] == model]

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass(frozen=True)
class Request:
    """One request, as the server has logged it."""

    number: int
    life: int
    """Which of the processes that worked on the run has made it, from 1."""
    content: str
    """What was said to the model, without what may differ."""

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Request:
        """Read an entry of the log."""
        said = [f"{message['role']}: {plain(text_of(message['content']))}" for message in entry["body"]["messages"]]
        return cls(entry["number"], int(entry["headers"]["openai-project"]), "\n\n".join(said))
