"""The command on a terminal: what it shows there, and what Ctrl-C does."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code, turns

Serve = Callable[..., ScriptedServer]

pytestmark = pytest.mark.timeout(300)
"""Each process imports litellm first, which takes many seconds where other tests run beside."""

COLOUR = re.compile(rb"\x1b\[[0-9;]*\b(3[0-8]|4[0-8]|9[0-7])(;|m)")
LAUNCH = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes the terminal on its standard input its own, so that Ctrl-C reaches it, and becomes the command."""

LOOK = code("seen = llm_query('look')\nprint(seen)")
END = code("FINAL('it says ' + seen)")


class Terminal:
    """A command on a terminal of its own, and all that it has written there."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int) -> None:
        self.process = process
        self._keyboard = keyboard
        self.text = b""

    def press(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    def wait_for(self, words: bytes, timeout_s: float = 100) -> None:
        """Read until `words` have come."""
        until = time.monotonic() + timeout_s
        while words not in self.text:
            assert time.monotonic() < until, f"{words!r} did not come; there is {self.text!r}"
            if select.select([self._keyboard], [], [], 0.1)[0] and not self._read():
                raise AssertionError(f"it ended without {words!r}: {self.text!r}")

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            continue
        return self.process.wait(100)

    def _read(self) -> bool:
        try:
            data = os.read(self._keyboard, 65536)
        except OSError:  # the terminal has no one left that could write to it
            return False
        self.text += data
        return bool(data)


@contextmanager
def on_terminal(shell: Shell, *args: object, **variables: str) -> Iterator[Terminal]:
    keyboard, screen = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *shell.command(*args)],
            stdin=screen,
            stdout=screen,
            stderr=screen,
            env=shell.environment(TERM="xterm-256color", COLUMNS="100", **variables),
            start_new_session=True,
        ) as process:
            os.close(screen)
            try:
                yield Terminal(process, keyboard)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
    finally:
        os.close(keyboard)


def test_a_models_escapes_do_not_reach_the_terminal(shell: Shell, serve: Serve) -> None:
    serve(code(r"print('\x1b[2Jcleared')"), code(r"FINAL('\x1b]0;owned\x07 \x9b31m [bold]\r\u202e 世界')"))

    with on_terminal(shell, "run", "q", "-v") as terminal:
        assert terminal.end() == 0

    assert b"\\x1b]0;owned\\x07 \\x9b31m [bold]\\x0d\\u202e \xe4\xb8\x96\xe7\x95\x8c\r\n" in terminal.text
    assert b"\\x1b[2Jcleared" in terminal.text
    for escape in (b"\x1b[2J", b"\x1b]0;owned", "\x9b".encode(), "\u202e".encode()):
        assert escape not in terminal.text


def test_progress_is_shown_while_the_run_is_under_way(shell: Shell, serve: Serve) -> None:
    server = serve(LOOK, END)

    with server.holding(lambda request: "look" in request.prompt) as hold, on_terminal(shell, "run", "q") as terminal:
        hold.wait(100)
        terminal.wait_for(b"turn 1: running code")
        hold.release()
        assert terminal.end() == 0

    assert b"turn 1: 1 cell, 1 call" in terminal.text
    assert b"it says sub-answer" in terminal.text
    assert COLOUR.search(terminal.text)


def test_no_color_is_honoured(shell: Shell, serve: Serve) -> None:
    serve(LOOK, END)

    for command in (("run", "q", "-v"), ("logs",), ("logs", "--json")):
        with on_terminal(shell, *command, NO_COLOR="1") as terminal:
            assert terminal.end() == 0
        assert not COLOUR.search(terminal.text)
    with on_terminal(shell, "logs") as terminal:
        terminal.end()
    assert COLOUR.search(terminal.text)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_an_interrupt_lets_the_step_end_and_the_run_goes_on_later(how: str, shell: Shell, serve: Serve) -> None:
    server = serve(LOOK, END)

    with server.holding(1) as hold, on_terminal(shell, "run", "q", "--thread", "mine") as terminal:
        hold.wait(100)
        if how == "Ctrl-C":
            terminal.press(b"\x03")
        else:
            terminal.process.send_signal(signal.SIGTERM)
        terminal.wait_for(b"stopping after the step under way")
        hold.release()
        assert terminal.end() == 130

    assert b"rlm-graph resume mine" in terminal.text
    assert b"Traceback" not in terminal.text
    assert "interrupted" in shell.here("logs").stdout
    resumed = shell.here("resume", "mine")
    assert (resumed.exit_code, resumed.stdout) == (0, "it says sub-answer\n")
    assert server.count == 3  # two turns and one sub-call: nothing was asked twice


def test_a_second_interrupt_stops_at_once_and_what_was_answered_is_kept(shell: Shell, serve: Serve) -> None:
    server = serve(script=turns(code("seen = llm_query('one')\nseen += llm_query('two')"), END, subcall="fish"))

    with (
        server.holding(lambda request: request.prompt == "two") as hold,
        on_terminal(shell, "run", "q", "--thread", "mine") as terminal,
    ):
        hold.wait(100)
        terminal.press(b"\x03")
        terminal.wait_for(b"once more stops now")
        terminal.press(b"\x03")
        assert terminal.end() == 130

    assert b"rlm-graph resume mine" in terminal.text
    assert b"Traceback" not in terminal.text
    resumed = shell.here("resume", "mine")
    assert (resumed.exit_code, resumed.stdout) == (0, "it says fishfish\n")
    assert len(server.requests_like(lambda request: request.prompt == "one")) == 1


def test_an_interrupt_before_the_run_began_leaves_nothing_behind(shell: Shell, serve: Serve) -> None:
    serve("never asked")

    with on_terminal(shell, "run", "q", "-c", "-") as terminal:
        terminal.wait_for(b"Ctrl-D on a line of its own ends it")
        terminal.press(b"\x03")
        assert terminal.end() == 130

    assert b"Traceback" not in terminal.text
    assert shell.here("logs").stdout.startswith("no runs yet")


def test_what_waits_for_approval_is_asked_about_in_place(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL('too dear')"), code("FINAL('wrong')"), code("seen = 3"), code("FINAL(seen)"))
    editor = shell.folder / "editor.py"
    editor.write_text("import pathlib, sys\npathlib.Path(sys.argv[1]).write_text('seen = 4')\n")
    variables = {"EDITOR": f"{sys.executable} {editor}", "VISUAL": ""}

    with on_terminal(shell, "run", "q", "--approve", "code", "--thread", "mine", **variables) as terminal:
        terminal.wait_for(b"too dear")
        terminal.wait_for(b"q: not now")
        terminal.press(b"maybe\nn\n")
        terminal.wait_for(b"Why not?")
        terminal.press(b"it costs\n")
        terminal.wait_for(b"FINAL('wrong')")
        terminal.press(b"n\n\n")
        terminal.wait_for(b"seen = 3")
        terminal.press(b"e\n")
        terminal.wait_for(b"FINAL(seen)")
        terminal.press(b"y\n")
        assert terminal.end() == 0

    assert shell.here("resume", "mine").stdout == "4\n"
    assert any("it costs" in request.prompt for request in server.requests)


def test_a_decision_can_be_put_off(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(llm_query('may I?', model=None))"))

    with on_terminal(shell, "run", "q", "--approve", "subcalls", "--thread", "mine") as terminal:
        terminal.wait_for(b"q: not now")
        terminal.press(b"\x04")
        assert terminal.end() == 7

    assert b"rlm-graph resume mine --approve | --reject" in terminal.text
    assert "waits for approval, 1 of 1: llm_query" in shell.here("logs", "mine").stdout
    assert shell.here("resume", "--approve").stdout == "sub-answer\n"


def test_ctrl_c_where_the_user_is_asked_whether_to_delete_is_an_interrupt_and_deletes_nothing(
    shell: Shell, serve: Serve
) -> None:
    serve(END.replace("seen", "'nothing'"))
    shell.here("run", "q", "--thread", "mine")

    with on_terminal(shell, "rm", "mine") as terminal:
        terminal.wait_for(b"for good? [y/N]")
        terminal.press(b"\x03")
        assert terminal.end() == 130

    assert b"Traceback" not in terminal.text
    assert "mine" in shell.here("logs").stdout
