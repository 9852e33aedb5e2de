"""One interpreter for all REPLs of a host on this machine: what they share, and what becomes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.conformance import Notebook
from rlm_graph.executors.host.bundle import bundle, file_name, version
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.executors.machine import fork_server
from rlm_graph.executors.machine.fork_server import FORK_SERVER, ForkServer
from tests.faults.processes import children_of, parent_of, supervisors_of, wait_until

ROOT = Path(__file__).resolve().parents[3]

HOST = """
import asyncio, os, sys
from pathlib import Path
from rlm_graph.executors.machine.fork_server import FORK_SERVER
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.state import Cell

async def start(name):
    async with LocalExecutor(folder=Path(sys.argv[1])).attached(None, name=name):
        pass

asyncio.run(start("feedbeefcafe0001"))
print(FORK_SERVER.pid, flush=True)
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a supervisor")


@pytest.fixture
def server() -> Iterator[ForkServer]:
    """One that nothing else uses."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def repls(tmp_path: Path) -> Iterator[Repls]:
    repls = Repls(tmp_path)
    yield repls
    repls.end()


class Repls:
    """Settings for REPLs, one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def next(self, **changes: object) -> dict[str, object]:
        folder = self.folder / f"repl-{len(list(self.folder.iterdir()))}"
        folder.mkdir(mode=0o700)
        return {"folder": str(folder), "version": version(), "confined": False, **changes}

    def supervisors(self) -> list[int]:
        """Their supervisors, in that order."""
        return supervisors_of(sorted(self.folder.iterdir()))

    def end(self) -> None:
        """End them, and wait until they have ended."""
        supervisors = self.supervisors()
        for supervisor in supervisors:
            os.kill(supervisor, signal.SIGTERM)
        wait_until(lambda: not any(map(runs, supervisors)))


def runs(pid: int) -> bool:
    """Whether the process does: a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started_as(pid: int) -> bytes:
    """What the process was started as, which a fork of it keeps."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


class TestForks:
    def test_every_repl_is_a_fork_of_one_process(self, server: ForkServer, repls: Repls) -> None:
        assert [server.start(repls.next()) for _ in range(3)] == [{}, {}, {}]

        assert server.pid is not None
        supervisors = repls.supervisors()
        command = started_as(server.pid)
        assert len(set(supervisors)) == 3
        assert command.endswith(f"{file_name()}\0fork-server\0".encode())
        assert {started_as(pid) for pid in supervisors} == {command}

    def test_one_that_was_started_ahead_is_the_one_that_forks(self, server: ForkServer, repls: Repls) -> None:
        server.warm_up()
        wait_until(lambda: server.pid is not None)
        pid = server.pid

        assert server.start(repls.next()) == {}

        assert server.pid == pid

    def test_one_that_was_not_needed_ends_with_the_others(self, server: ForkServer) -> None:
        server.warm_up()
        wait_until(lambda: server.pid is not None)
        pid = server.pid
        assert pid is not None

        server.close()

        assert not runs(pid)
        assert server.pid is None

    def test_it_keeps_no_child_that_lives_and_none_that_is_dead(self, server: ForkServer, repls: Repls) -> None:
        for _ in range(3):
            server.start(repls.next())

        pid = server.pid
        assert pid is not None
        wait_until(lambda: children_of(pid) == [])
        assert all(parent_of(supervisor) not in (pid, os.getpid()) for supervisor in repls.supervisors())

    @needs_root
    def test_a_supervisor_has_a_session_of_its_own_and_no_way_to_it(self, server: ForkServer, repls: Repls) -> None:
        server.start(repls.next())

        assert server.pid is not None
        (supervisor,) = repls.supervisors()
        assert os.getsid(supervisor) == supervisor
        assert os.getsid(server.pid) not in (supervisor, os.getsid(0))
        assert pipes(server.pid)
        assert pipes(supervisor).isdisjoint(pipes(server.pid))

    def test_its_archive_is_read_whole_and_gone(self, server: ForkServer, repls: Repls) -> None:
        server.start(repls.next())

        assert server.pid is not None
        archive = Path(os.fsdecode(started_as(server.pid).split(b"\0")[-3]))
        assert archive.name == file_name()
        assert archive.parent.exists()
        assert not archive.exists()

    @needs_root
    def test_what_one_request_held_is_not_in_the_memory_of_the_next(self, server: ForkServer, repls: Repls) -> None:
        secret = os.urandom(16).hex()
        server.start(repls.next(packages=[f"/{secret}"]))
        server.start(repls.next())

        assert server.pid is not None
        first, second = repls.supervisors()
        assert [holds(pid, secret) for pid in (first, server.pid, second)] == [True, False, False]


class TestEnds:
    def test_one_that_was_killed_is_replaced_and_its_repls_go_on(self, server: ForkServer, repls: Repls) -> None:
        server.start(repls.next())
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        assert server.start(repls.next()) == {}
        assert server.pid != first
        assert all(map(runs, repls.supervisors()))
        assert len(repls.supervisors()) == 2

    def test_one_that_does_not_answer_is_an_error_and_the_next_request_gets_another(
        self, server: ForkServer, repls: Repls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.start(repls.next())
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(fork_server, "ANSWER_TIMEOUT_S", 0.1)
            told = server.start(repls.next())

        assert told == {"error": "no answer within 0.1 s"}
        assert server.start(repls.next()) == {}
        assert not runs(first)

    def test_it_ends_with_its_host_however_that_ends_and_the_repl_goes_on(self, tmp_path: Path) -> None:
        repls = Repls(tmp_path)
        with subprocess.Popen(
            [sys.executable, "-c", HOST + "sys.stdin.read()", str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        ) as host:  # fmt: skip
            assert host.stdout is not None
            server = int(host.stdout.readline())
            assert runs(server)
            host.kill()

        wait_until(lambda: not runs(server))
        assert len(repls.supervisors()) == 1
        repls.end()

    def test_a_host_that_ends_waits_for_it_and_warns_of_nothing(self, tmp_path: Path) -> None:
        # What is registered first is called last.
        last = """
import atexit
atexit.register(lambda: print(os.path.exists(f"/proc/{first}")))
"""
        command = [sys.executable, "-W", "error", "-c", f"{last}{HOST}first = FORK_SERVER.pid", str(tmp_path)]
        told = subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
        Repls(tmp_path).end()

        assert told.stderr == b""
        assert told.stdout.split()[1:] == [b"False"]

    def test_a_fork_of_its_host_has_another(self, tmp_path: Path) -> None:
        forking = """
sys.stdout.flush()
first = FORK_SERVER.pid
child = os.fork()
asyncio.run(start("feedbeefcafe0002" if child else "feedbeefcafe0003"))
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert FORK_SERVER.pid == first
print(FORK_SERVER.pid, flush=True)
"""
        told = subprocess.run(
            [sys.executable, "-W", "error", "-c", HOST + forking, str(tmp_path)],
            capture_output=True, cwd=ROOT, check=True,
        )  # fmt: skip
        started = len(Repls(tmp_path).supervisors())
        Repls(tmp_path).end()

        first, of_child, again = map(int, told.stdout.split())
        assert first == again != of_child
        assert started == 3
        assert told.stderr == b""

    def test_a_fork_of_its_host_does_not_keep_it_alive(self, tmp_path: Path) -> None:
        forking = """
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
os.kill(os.getpid(), 9)
"""
        with subprocess.Popen(
            [sys.executable, "-c", HOST + forking, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        ) as host:  # fmt: skip
            assert host.stdout is not None
            server = int(host.stdout.read())  # its fork goes on until the input ends
            wait_until(lambda: not runs(server))
            Repls(tmp_path).end()


class TestRequests:
    def test_threads_share_it(self, server: ForkServer, repls: Repls) -> None:
        settings = [repls.next() for _ in range(8)]
        before = set(children_of(os.getpid()))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(server.start, settings))

        assert answers == [{}] * 8
        assert len(set(repls.supervisors())) == 8
        assert set(children_of(os.getpid())) - before == {server.pid}

    def test_what_cannot_start_is_told_in_words_and_the_next_one_starts(self, server: ForkServer, repls: Repls) -> None:
        unknown = server.start(repls.next(colour="red"))
        first = server.pid

        assert "colour" in unknown["error"]
        assert "Not a directory" in server.start(repls.next(folder="/dev/null/a\n"))["error"]
        assert server.start(repls.next()) == {}
        assert server.pid == first

    def test_one_that_cannot_begin_gives_its_last_words(
        self, server: ForkServer, repls: Repls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "python"
        program.write_text("#!/bin/sh\necho no licence >&2\nexit 1\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))

        assert server.start(repls.next()) == {"error": "no licence"}
        assert server.pid is None

    def test_its_program_is_gone_once_it_is_read_though_whoever_put_it_there_was_killed(self, tmp_path: Path) -> None:
        archive = tmp_path / "program.pyz"
        archive.write_bytes(bundle())

        ended = subprocess.run([sys.executable, "-S", "-s", archive, "fork-server"], input=b"",
                               capture_output=True, check=True, env={"PYTHONHASHSEED": "0"})  # fmt: skip

        assert ended.stdout == b"{}\n"
        assert not archive.exists()

    async def test_the_executors_of_this_process_share_one(self, tmp_path: Path) -> None:
        executors = [LocalExecutor(folder=tmp_path / name) for name in ("a", "b")]
        async with executors[0].attached(None) as first:
            server = FORK_SERVER.pid
            async with executors[1].attached(None) as second:
                assert FORK_SERVER.pid == server
                shown = await Notebook(first).run("import sys\nsys.orig_argv[-1]")
        await asyncio.gather(executors[0].close(first.handle), executors[1].close(second.handle))

        assert shown.value == "'fork-server'"

    async def test_a_supervisor_that_cannot_start_is_an_error_and_leaves_no_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        executor = LocalExecutor(folder=tmp_path)
        monkeypatch.setattr(executor, "_supervisor_settings", lambda folder: {"colour": "red"})
        with pytest.raises(ExecutorError, match=r"did not start: TypeError.*colour"):
            async with executor.attached(None):
                pass

        assert list(tmp_path.iterdir()) == []


def pipes(pid: int) -> set[str]:
    """The pipes and sockets that a process holds."""
    entries = Path(f"/proc/{pid}/fd").iterdir()
    return {link for link in map(os.readlink, entries) if link.startswith(("pipe:", "socket:"))}


def holds(pid: int, text: str) -> bool:
    """Whether a process has a text in its memory that can be written."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            addresses, rights = line.split()[:2]
            start, end = (int(address, 16) for address in addresses.split("-"))
            if rights.startswith("rw"):
                memory.seek(start)
                if text.encode() in memory.read(end - start):
                    return True
    return False
