"""The recorded databases, each copied for one test, and the command at work on the copy."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell
from tests.recorded.runs import DATA, KEY, LANES, VERSION, dialogue, is_agents, label, script


@dataclass(frozen=True)
class Restored:
    """A lane as it was recorded, a server that goes on with its script, and a shell."""

    lane: str
    shell: Shell
    server: ScriptedServer

    def here(self, *args: object) -> Any:
        """Run a command."""
        return self.shell.here(*args)

    def go_on(self, command: str, *args: object) -> Any:
        """Run a command that asks the model: at this server, and not at the one of those days."""
        return self.here(command, *args, "--base-url", self.server.url, "--json")

    @property
    def asked(self) -> list[str]:
        """The names of the requests so far, the same in every run."""
        return [label(request) for request in self.server.requests]

    @property
    def told(self) -> dict[str, list[Any]]:
        """What agents were told and said, by the names of their requests."""
        return {label(request): dialogue(request) for request in self.server.requests if is_agents(request)}


def asked_then(lane: str) -> dict[str, list[Any]]:
    """The requests that the model had got when the lane was recorded, and their dialogues, by their names."""
    requests = json.loads(gzip.decompress((DATA / VERSION / "asked.json.gz").read_bytes()))[lane]
    return dict(requests)


@pytest.fixture(
    params=[pytest.param(lane, marks=pytest.mark.postgres) if "postgres" in lane else lane for lane in LANES]
)
def restored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restored]:
    """A copy of a lane. What of it is left at the end is deleted, with the sandboxes."""
    lane: str = request.param
    monkeypatch.chdir(tmp_path)
    with tarfile.open(DATA / VERSION / f"{lane}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    variables = {"RLM_DATA_DIR": str(tmp_path / "data"), "OPENAI_API_KEY": "sk-test"}
    if "postgres" in lane:
        variables["RLM_DB"] = request.getfixturevalue("postgres")
        fill(variables["RLM_DB"], tmp_path / "dump.sql")
    if "encrypted" in lane:
        variables |= {"RLM_ENCRYPT": "1", "LANGGRAPH_AES_KEY": KEY}
    with ScriptedServer(script) as server:
        restored = Restored(lane, Shell(tmp_path, variables), server)
        yield restored
        left = [run["id"] for run in json.loads(restored.here("logs", "--json").stdout)]
        assert not left or restored.here("rm", "--yes", *left).exit_code == 0


def fill(address: str, dump: Path) -> None:
    """Make an empty PostgreSQL database what it was."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(dump.read_bytes())
