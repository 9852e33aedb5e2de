"""The supervisor, frame by frame: it runs here in the foreground, from the source tree."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]
COMMAND = [sys.executable, "-X", "utf8", "-m", "rlm_graph.executors.sandbox"]
# As the bundle is started; with it, nothing has to be started over.
ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}


NAMED = {"path": ["prompt"], "context": 1, "part": 0, "start": 0, "bytes": 5, "chars": 5}
CALL_NAMING = {"ev": "call", "cell": 1, "id": 1, "function": "f", "arguments": {"prompt": None}, "nth": 0}
CALL_READING = '{"ev": "call", "cell": 1, "id": 1, "function": "f", "arguments": {}, "nth": 0, "readings": READINGS}'
WITHOUT_LINE = '{"type": "", "message": "", "traceback": "", "line": "1"}'


class Connection:
    """Speaks frames to a supervisor."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(path))
        self.lines = self.sock.makefile("rb")

    def send(self, **frame: Any) -> None:
        self.sock.sendall(json.dumps(frame).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        line = self.lines.readline()
        assert line, "the supervisor has closed the connection"
        frame = json.loads(line)
        assert isinstance(frame, dict)
        return frame

    def ask(self, **frame: Any) -> dict[str, Any]:
        self.send(**frame)
        return self.receive()

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


def cell(number: int, code: str, **changes: Any) -> dict[str, Any]:
    request = {
        "op": "exec",
        "re": 1,
        "cell": number,
        "code": code,
        "language": "python",
        "timeout": 30,
        "seed": 1,
        "started_at": None,
    }
    return {**request, **changes}


class Supervised:
    """A supervisor and the connections to it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self.connections: list[Connection] = []
        given = {"folder": str(folder), "version": "v", "foreground": True, **settings}
        self.process = subprocess.Popen(
            [*COMMAND, "supervise", json.dumps(given)], stdout=subprocess.PIPE, env=ENVIRONMENT
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"{}\n"

    def connect(self) -> Connection:
        self.connections.append(Connection(self.folder / "control.sock"))
        return self.connections[-1]

    def end(self) -> None:
        for connection in self.connections:
            connection.close()
        self.process.terminate()
        self.process.communicate(timeout=30)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path / "repl")
    yield supervised
    supervised.end()


@pytest.fixture
def host(supervised: Supervised) -> Connection:
    return supervised.connect()


def test_a_ping_tells_where_the_repl_is(host: Connection) -> None:
    fresh = host.ask(op="ping", re=1)
    host.ask(**cell(4, "1"))
    used = host.ask(op="ping", re=2)

    assert fresh == {
        "ev": "pong",
        "re": 1,
        "version": "v",
        "failure": None,
        "generation": 1,
        "cells_done": 0,
        "past": [],
    }
    assert (used["re"], used["cells_done"], used["past"]) == (2, 4, [{"number": 4, "branch": ""}])


def test_an_end_is_told_again_to_whoever_asks(supervised: Supervised, host: Connection) -> None:
    first = host.ask(**cell(1, "print(1)"))
    other = supervised.connect()

    assert other.ask(**cell(1, "print(1)")) == first
    assert other.ask(op="wait", re=2) == first


def test_waiting_where_nothing_ran_is_an_error(host: Connection) -> None:
    assert host.ask(op="wait", re=7) == {"ev": "error", "re": 7, "message": "no cell has run yet"}


def test_unanswered_calls_are_told_again_and_answered_ones_are_not(supervised: Supervised, host: Connection) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor as Pool\nwith Pool(3) as p: print(*p.map(llm_query, 'abc'))"
    )
    calls: dict[str, int] = {}
    told = host.ask(**cell(1, code))
    while len(calls) < 3:
        calls |= {call["arguments"]["prompt"]: call["id"] for call in told["calls"]}
        told = told if len(calls) == 3 else host.receive()

    host.send(op="resume", cell=1, results=[{"id": calls["b"], "value": "B"}])
    host.close()
    other = supervised.connect()
    again = other.ask(op="wait", re=1)
    other.send(op="resume", cell=1, results=[{"id": calls["b"], "value": "twice"}, {"id": 99, "value": "unasked"}])
    other.send(op="resume", cell=7, results=[{"id": calls["a"], "value": "another cell"}])
    other.send(op="resume", cell=1, results=[{"id": calls["c"], "value": "C"}, {"id": calls["a"], "value": "A"}])
    done = other.receive()

    assert {call["arguments"]["prompt"] for call in again["calls"]} == {"a", "c"}
    assert done["stdout"] == "A B C\n"
    assert done["calls"] == 3


def test_calls_that_threads_make_at_once_come_together(host: Connection) -> None:
    code = """
import threading
barrier = threading.Barrier(4)
def ask(n):
    barrier.wait()
    llm_query(str(n))
threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    told = host.ask(**cell(1, code))
    frames = 1
    answered = 0
    while told["ev"] == "calls":
        results = [{"id": call["id"], "value": ""} for call in told["calls"]]
        answered += len(results)
        host.send(op="resume", cell=1, results=results)
        told = host.receive()
        frames += told["ev"] == "calls"

    assert answered == 4
    assert frames < 4


def test_one_cell_runs_at_a_time(host: Connection) -> None:
    host.ask(**cell(1, "llm_query('p')"))

    refused = host.ask(**cell(2, "1", re=9))

    assert (refused["ev"], refused["re"], refused["message"]) == ("error", 9, "the REPL is busy with cell 1")


def test_another_cell_of_the_running_number_ends_what_runs(host: Connection) -> None:
    host.ask(**cell(1, "llm_query('p')"))

    killed = host.ask(**cell(1, "llm_query('q')"))
    refused = host.receive()

    assert (killed["ev"], killed["status"]) == ("done", "killed")
    assert refused["ev"] == "error"
    assert host.ask(op="ping", re=1)["generation"] == 2


@pytest.mark.parametrize(
    "request_",
    [{"op": "fly"}, {"no": "op"}, {"op": "exec"}, {"op": "context", "re": 1, "number": 1, "folder": "/nowhere"},
     {"op": "exec", "re": 1, "cell": 1, "code": 5, "language": "python", "timeout": "x"}, {"op": []}],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused_and_harms_nothing(host: Connection, request_: dict[str, Any]) -> None:
    assert host.ask(**request_)["ev"] == "error"
    assert host.ask(**cell(1, "1 + 1"))["value"] == "2"


def test_a_client_that_sends_no_frames_is_dropped_and_the_others_are_not(
    supervised: Supervised, host: Connection
) -> None:
    stranger = supervised.connect()
    stranger.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")

    assert stranger.receive()["ev"] == "error"
    assert stranger.lines.readline() == b""
    assert host.ask(**cell(1, "1 + 1"))["value"] == "2"


def test_a_host_that_does_not_read_does_not_stop_the_supervisor(supervised: Supervised, host: Connection) -> None:
    host.send(**cell(1, "FINAL('x' * 20_000_000)"))
    other = supervised.connect()
    while other.ask(op="ping", re=1)["cells_done"] == 0:
        pass

    assert other.ask(op="vars", re=2)["variables"] == []
    assert len(host.receive()["final"]["value"]) == 20_000_000


@pytest.mark.parametrize(
    "forged",
    [
        "no json",
        '{"ev": "done", "cell": 2, "status": "ok"}',
        '{"ev": "done", "cell": 1, "status": "great"}',
        '{"ev": "done", "cell": 1, "status": "ok", "error": {}}',
        '{"ev": "done", "cell": 1, "status": "error", "error": {"type": 1}}',
        '{"ev": "done", "cell": 1, "status": "error", "error": ERROR}'.replace("ERROR", WITHOUT_LINE),
        '{"ev": "done", "cell": 1, "status": "final", "final": {"value": 1}}',
        '{"ev": "done", "cell": 1, "status": "final", "final": {"value": 1, "exact": true, "via": "luck"}}',
        '{"ev": "call", "cell": 1, "id": "x", "function": "f", "arguments": {}, "nth": 0}',
        '{"ev": "call", "cell": 1, "id": 0, "function": "f", "arguments": {}, "nth": 0}',
        '{"ev": "call", "cell": 1, "id": 1, "function": "f", "arguments": [], "nth": 0}',
        '{"ev": "ready"}',
        '{"ev": "pong"}',
        '{"cell": 1}',
        '{"ev": ["list"]}',
        '{"ev": "call", "cell": 1, "id": 1, "function": "f", "arguments": {"a": '
        + "[" * 150
        + "]" * 150
        + '}, "nth": 0}',
        CALL_READING.replace("READINGS", "[1]"),
        CALL_READING.replace("READINGS", '{"0 sundial 0": [1]}'),
        CALL_READING.replace("READINGS", '{"0 time 0": [1.5]}'),
        CALL_READING.replace("READINGS", '{"0 time 0": [true]}'),
        CALL_READING.replace("READINGS", '{"0 time 0": [9223372036854775808]}'),
        CALL_READING.replace("READINGS", '{"0 time 0": []}'),
        CALL_READING.replace("READINGS", json.dumps({"0 time 0": [1] * 10_001})),
        CALL_READING.replace("READINGS", json.dumps({f"0.{n} time 0": [1] for n in range(10_001)})),
        CALL_READING.replace("READINGS", '{"0 time 0": [1]}')
        + "\n"
        + CALL_READING.replace("READINGS", '{"0 time 0": [1]}').replace('"id": 1', '"id": 2'),
        *(
            json.dumps(CALL_NAMING | {"texts": texts})
            for texts in (
                [],
                {},
                [1],
                [{}],
                [NAMED] * 40_001,
                [NAMED | {"path": []}],
                [NAMED | {"path": ["a"] * 102}],
                [NAMED | {"path": [True]}],
                [NAMED | {"path": [-1]}],
                [NAMED | {"context": None}],
                [NAMED | {"part": "0"}],
                [NAMED | {"start": -1}],
                [NAMED | {"bytes": 1.0}],
                [NAMED | {"chars": 1 << 62}],
            )
        ),
    ],
    ids=range(39),
)
def test_a_forged_frame_of_the_worker_ends_it_and_nothing_else(host: Connection, forged: str) -> None:
    code = f"import os, time\nline = {forged + chr(10)!a}.encode()\nwhile line: line = line[os.write(3, line):]"
    done = host.ask(**cell(1, f"{code}\ntime.sleep(100)"))
    assert (done["ev"], done["status"]) == ("done", "killed")
    assert "broke into the channel" in done["error"]["message"]

    assert host.ask(**cell(2, "1 + 1"))["value"] == "2"
    assert host.ask(op="ping", re=1)["generation"] == 2


HELD_LATER = """
import os, re, threading
begin, begun = os.pipe()
def hold():
    os.read(begin, 1)
    re.match('(a+)+$', 'a' * 60 + 'b')
threading.Thread(target=hold, daemon=True).start()
class T:
    __module__ = 'numpy'
    @property
    def shape(self):
        # When variables are listed, which is the last that is asked for before the end of the cell is told.
        os.write(begun, b'x')
x = T()"""
"""Holds the interpreter for ever, soon after its cell has ended."""


def test_a_worker_that_does_nothing_costs_its_variables_and_keeps_nobody_waiting(host: Connection) -> None:
    assert host.ask(**cell(1, HELD_LATER))["ev"] == "done"
    refused = host.ask(op="tools", re=5, tools=["search(query)"])

    assert (refused["ev"], refused["re"]) == ("reply", 5)
    assert host.ask(op="ping", re=6)["past"] == []
    assert host.ask(op="snapshot", re=7, max_bytes=1_000)["reason"] == "the REPL has run no cell"
    assert host.ask(**cell(1, "search.__name__"))["value"] == "'search'"


def test_an_answer_holds_even_if_its_cell_leaves_the_interpreter_broken(host: Connection) -> None:
    done = host.ask(**cell(1, "import builtins\ntry: FINAL('kept')\nfinally: vars(builtins).clear()"))

    assert done["ev"] == "done"
    assert (done["status"], done["final"] and done["final"]["value"]) in (("killed", "kept"), ("killed", None))
    assert host.ask(**cell(1, "1 + 1"))["value"] == "2"


def test_answers_that_nobody_reads_end_the_repl_and_are_not_kept(host: Connection) -> None:
    code = """
import os, time
for n in range(1, 400):
    line = b'{"ev": "call", "cell": 1, "id": %d, "function": "f", "arguments": {}, "nth": %d}\\n' % (n, n)
    while line:
        line = line[os.write(3, line):]
os.kill(os.getpid(), 19)"""
    host.send(**cell(1, code))
    told = host.receive()
    answered = 0
    while told["ev"] == "calls":
        for call in told["calls"]:
            host.send(op="resume", cell=1, results=[{"id": call["id"], "value": "x" * (1 << 20), "error": None}])
            answered += 1
        told = host.receive()

    assert (told["ev"], told["status"]) == ("done", "killed")
    assert "did not read" in told["error"]["message"]


def test_closing_ends_the_process_and_removes_the_folder(supervised: Supervised, host: Connection) -> None:
    host.send(op="close")

    assert host.lines.readline() == b""
    assert supervised.process.wait(30) == 0
    assert not supervised.folder.exists()


def test_a_signal_to_end_is_like_closing(supervised: Supervised, host: Connection) -> None:
    host.ask(op="ping", re=1)
    supervised.process.terminate()

    assert supervised.process.wait(30) == 0
    assert not supervised.folder.exists()


def test_a_worker_that_cannot_start_is_told_of(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path / "repl", packages=["/no/such/folder"])
    told = supervised.connect().ask(op="ping", re=1)
    refused = supervised.connect().ask(**cell(1, "1"))
    supervised.end()

    assert "/no/such/folder" in told["failure"]
    assert refused["ev"] == "error"


def test_the_relay_carries_frames_both_ways(supervised: Supervised) -> None:
    path = str(supervised.folder / "control.sock")
    requests = json.dumps(cell(1, "print('x' * 100_000)\nllm_query('p')")) + "\n"
    with subprocess.Popen(
        [*COMMAND, "relay", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        relay.stdin.write(requests.encode())
        relay.stdin.flush()
        calls = json.loads(relay.stdout.readline())
        resume = {"op": "resume", "cell": 1, "results": [{"id": calls["calls"][0]["id"], "value": 5}]}
        relay.stdin.write(json.dumps(resume).encode() + b"\n")
        relay.stdin.flush()
        done = json.loads(relay.stdout.readline())
        relay.stdin.close()
        assert relay.wait(30) == 0

    assert done["stdout_chars"] == 100_001
    assert done["value"] == "5"


def test_a_relay_that_hears_nothing_of_its_host_ends(supervised: Supervised, host: Connection) -> None:
    path = os.path.join(supervised.folder, "control.sock")
    with subprocess.Popen(
        [*COMMAND, "relay", path, "0.2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as relay:
        assert relay.stdin is not None
        assert relay.wait(30) == 0


def test_a_relay_ends_with_its_supervisor(supervised: Supervised, host: Connection) -> None:
    path = str(supervised.folder / "control.sock")
    with subprocess.Popen(
        [*COMMAND, "relay", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        relay.stdin.write(b'{"op": "ping", "re": 1}\n')
        relay.stdin.flush()
        relay.stdout.readline()
        host.send(op="close")
        assert relay.wait(30) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="the kernel bounds the threads of everybody else")
@pytest.mark.parametrize("cells", [1, 2], ids=["while its cell runs", "between cells"])
def test_as_root_threads_without_end_cost_the_repl(tmp_path: Path, cells: int) -> None:
    supervised = Supervised(tmp_path / "repl", max_threads=4)
    host = supervised.connect()
    flood = "import threading, time\ndef flood():\n"
    flood += "    for _ in range(100): threading.Thread(target=time.sleep, args=(60,)).start()\n"
    try:
        if cells == 1:
            told = host.ask(**cell(1, flood + "flood()\ntime.sleep(60)"))
        else:
            host.ask(**cell(1, flood + "threading.Timer(0.2, flood).start()"))
            while (lost := host.ask(op="ping", re=2))["generation"] == 1:
                pass
            told = host.ask(**cell(1, "threading.active_count()"))
    finally:
        supervised.end()

    if cells == 1:
        assert told["status"] == "killed"
        assert "threads; 4 are allowed" in told["error"]["message"]
    else:
        assert (lost["generation"], lost["past"]) == (2, [])
        assert told["error"]["type"] == "NameError"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of another process")
def test_memory_that_cannot_be_bounded_is_told(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    # The first process of the machine belongs to somebody else, once the one that asks is not root.
    code = f"""
import os
from rlm_graph.executors.sandbox.supervisor.process import WorkerProcess
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings
worker = WorkerProcess(SupervisorSettings(folder={str(tmp_path)!r}, version="v", confined=False), 1)
if os.getuid() == 0: os.setresuid(65534, 65534, 65534)
worker.pid = 1
try:
    worker.allow_memory(0)
except OSError as error:
    print(type(error).__name__)
"""
    told = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )

    assert told.stdout == "PermissionError\n", told.stderr


def test_an_unknown_command_is_an_error() -> None:
    told = subprocess.run(
        [*COMMAND, "dance", "x"], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )

    assert told.returncode == 1
    assert "no command 'dance'" in told.stderr
