"""Standard streams that go away, bring something unasked, or are printed to by others."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from rlm_graph.testing import ScriptedReply, ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]

pytestmark = pytest.mark.timeout(300)

LOOK = code("seen = llm_query('look')")
END = code("FINAL('it says ' + seen)")


@contextmanager
def started(shell: Shell, *args: object, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        shell.command("run", "q", "--thread", "mine", *args),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=shell.environment(),
        start_new_session=True,
        **streams,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    out, _ = process.communicate(timeout=200)
    return process.returncode, out


# --- stderr ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [(), ("--stream",), ("--verbose",)])
def test_a_run_whose_log_is_on_a_full_disk_answers(shown: tuple[str, ...], shell: Shell, serve: Serve) -> None:
    serve(LOOK, END)

    with open("/dev/full", "wb") as full, started(shell, *shown, stderr=full) as process:
        assert ended(process) == (0, b"it says sub-answer\n")


def test_a_run_without_stderr_answers_and_its_files_do_not_take_its_place(shell: Shell, serve: Serve) -> None:
    serve(LOOK, END)

    with started(shell, preexec_fn=lambda: os.close(2)) as process:  # no threads are at work here
        assert ended(process) == (0, b"it says sub-answer\n")
    assert json.loads(shell.here("logs", "mine", "--json").stdout)["run"]["status"] == "done"


def test_a_run_whose_reader_of_stderr_has_left_answers(shell: Shell, serve: Serve) -> None:
    serve(LOOK, END)
    reading, writing = os.pipe()
    os.close(reading)

    with started(shell, stderr=writing) as process:
        os.close(writing)
        assert ended(process) == (0, b"it says sub-answer\n")


@pytest.mark.parametrize("shown", [(), ("--stream",)])
def test_a_run_whose_terminal_goes_away_in_the_middle_answers(
    shown: tuple[str, ...], shell: Shell, serve: Serve
) -> None:
    server = serve(LOOK, END)
    keyboard, screen = pty.openpty()

    with (
        server.holding(lambda request: "look" in request.prompt) as hold,
        started(shell, *shown, stderr=screen) as process,
    ):
        os.close(screen)
        hold.wait(100)
        os.close(keyboard)
        hold.release()
        assert ended(process) == (0, b"it says sub-answer\n")


def test_a_hang_up_stops_the_run_after_its_step_however_often_it_is_sent(shell: Shell, serve: Serve) -> None:
    server = serve(LOOK, END)

    with server.holding(1) as hold, started(shell, stderr=subprocess.PIPE) as process:
        hold.wait(100)
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
        error: IO[bytes] | None = process.stderr
        assert error is not None
        assert b"stopping after the step under way" in error.readline()
        hold.release()
        assert process.wait(200) == 130

    assert json.loads(shell.here("logs", "--json").stdout)[0]["status"] == "interrupted"
    resumed = shell.here("resume")
    assert (resumed.exit_code, resumed.stdout) == (0, "it says sub-answer\n")
    assert server.count == 3


def test_a_run_that_is_to_outlive_its_terminal_goes_on(shell: Shell, serve: Serve) -> None:
    server = serve(LOOK, END)

    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with server.holding(1) as hold, started(shell, "-q", preexec_fn=nohup) as process:
        hold.wait(100)
        process.send_signal(signal.SIGHUP)
        hold.release()
        assert ended(process) == (0, b"it says sub-answer\n")


# --- stdout ----------------------------------------------------------------------------------------------------------


def test_what_others_print_while_a_run_is_at_work_is_not_in_its_answer(shell: Shell, serve: Serve) -> None:
    (shell.folder / "noisy.py").write_text(
        "import os, subprocess\n"
        "from pydantic import BaseModel\n"
        "import ctypes\n"
        "print('by python')\n"
        "ctypes.CDLL(None).printf(b'by a library\\n')\n"
        "os.write(1, b'by descriptor\\n')\n"
        "subprocess.run(['echo', 'by a program'], check=True)\n"
        "class Answer(BaseModel):\n    name: str\n"
    )
    serve(code("FINAL({'name': 'x'})"))

    done = shell.run("run", "q", "--json", "--schema", "noisy:Answer")

    assert json.loads(done.stdout)["answer"] == {"name": "x"}
    for words in (b"by python", b"by a library", b"by descriptor", b"by a program"):
        assert words in done.stderr


# --- stdin -----------------------------------------------------------------------------------------------------------


SHOW = code("FINAL(f'read {context}')")


def test_what_is_piped_in_is_the_context(shell: Shell, serve: Serve, tmp_path: Path) -> None:
    serve(SHOW)
    text = tmp_path / "text"
    text.write_bytes(b"from a file")

    piped = shell.run("run", "q", input=b"from a pipe")
    with text.open("rb") as file:
        redirected = subprocess.run(
            shell.command("run", "q", "-q"), stdin=file, capture_output=True, env=shell.environment(), timeout=100
        )

    assert piped.stdout == b"read from a pipe\n"
    assert b"context: standard input" in piped.stderr
    assert (redirected.stdout, redirected.stderr) == (b"read from a file\n", b"")


def test_what_is_piped_in_beside_another_context_is_refused_before_anything_is_asked(
    shell: Shell, serve: Serve
) -> None:
    server = serve(SHOW)
    (shell.folder / "a.txt").write_text("a")
    ours, theirs = socket.socketpair()

    with ours, theirs:
        ours.sendall(b"unasked")
        done = subprocess.run(
            shell.command("run", "q", "-c", "a.txt"),
            stdin=theirs,
            capture_output=True,
            cwd=shell.folder,
            env=shell.environment(),
            timeout=100,
        )

    assert done.returncode == 2
    assert b"add `-c -` to read it too" in done.stderr
    assert server.count == 0


def test_a_standard_input_that_brings_nothing_is_left_alone(shell: Shell, serve: Serve, tmp_path: Path) -> None:
    serve(SHOW)
    rest = tmp_path / "list"
    rest.write_bytes(b"one\ntwo\n")
    reading, writing = os.pipe()
    closed, end = os.pipe()
    os.close(end)
    ours, theirs = socket.socketpair()
    ours.close()
    with rest.open("rb", buffering=0) as file, theirs:
        file.read(4)  # as `while read` does
        for stream in (reading, closed, theirs.fileno(), file.fileno(), subprocess.DEVNULL):
            done = subprocess.run(
                shell.command("run", "q", "-q"), stdin=stream, capture_output=True, env=shell.environment(), timeout=100
            )
            assert (done.returncode, done.stdout) == (0, b"read None\n"), done.stderr
        assert file.read() == b"two\n"
    for descriptor in (reading, writing, closed):
        os.close(descriptor)


def test_a_tool_that_prints_does_so_on_stderr(shell: Shell, serve: Serve) -> None:
    package = shell.folder / "noisy_tools-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy-tools\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[rlm_graph.tools]\nlook_up = noisy_tools:look_up\n")
    (shell.folder / "noisy_tools.py").write_text(
        "print('imported')\n"
        "def look_up(name: str) -> str:\n"
        '    """Return what is known of a name."""\n'
        "    print('looking up', name)\n"
        "    return name.upper()\n"
    )
    shell.variables["PYTHONPATH"] = str(shell.folder)
    serve(code("FINAL(look_up('ann'))"))

    done = shell.run("run", "q", "--json", "--tool", "look_up")
    listed = shell.run("tools", "--json")

    assert json.loads(done.stdout)["answer"] == "ANN", done.stderr
    assert b"looking up ann" in done.stderr
    assert any(tool["name"] == "look_up" for tool in json.loads(listed.stdout))


def test_a_stream_as_json_is_json_to_its_last_line_even_when_the_run_fails(shell: Shell, serve: Serve) -> None:
    serve(ScriptedReply(status=400, error="no such thing"))

    done = shell.here("run", "q", "--stream", "--json")

    assert done.exit_code == 6
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert told[-1]["kind"] == "message"
    assert "no such thing" in told[-1]["text"]


LEAVING = """
import atexit, sys
from rlm_graph.cli.standard_streams import leave
class Slow:
    def __del__(self):
        print("taken apart")
slow = Slow()
atexit.register(lambda: print("done at the end"))
sys.stdout.write("said and not flushed; ")
leave({code})
"""


@pytest.mark.parametrize(("code", "status"), [("None", 0), ("0", 0), ("7", 7)])
def test_a_command_leaves_when_all_is_done_and_takes_nothing_apart(code: str, status: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVING.format(code=code)], capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == status
    assert ended.stdout == "said and not flushed; done at the end\n"


def test_a_command_whose_result_cannot_be_written_does_not_end_well() -> None:
    with open("/dev/full", "w") as full:
        # Without PYTHONUNBUFFERED, under which already the printing fails.
        left = subprocess.run([sys.executable, "-Ec", LEAVING.format(code="0")], stdout=full, timeout=60)

    assert left.returncode == 120
