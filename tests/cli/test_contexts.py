"""What `-c` takes: paths, patterns and addresses, as a shell would have made them, and nothing by accident."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]

pytestmark = pytest.mark.timeout(300)
"""Each process imports litellm first, which takes many seconds where other tests run beside."""

SHOW = code("FINAL(', '.join(sorted(context)) if isinstance(context, dict) else context)")


@pytest.fixture
def docs(shell: Shell) -> Path:
    """A repository with what is wanted and what is not."""
    files = {
        "docs/.git/HEAD": "", "docs/.gitignore": "*.log\n", "docs/a.txt": "alpha", "docs/b.txt": "beta",
        "docs/sub/c.txt": "gamma", "docs/x.log": "log", "docs/build/d.txt": "made",
    }  # fmt: skip
    for name, content in files.items():
        (shell.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shell.folder / name).write_text(content)
    return shell.folder / "docs"


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (["-c", "docs"], "a.txt, b.txt, sub/c.txt"),
        (["-c", "docs", "--no-ignore"], "a.txt, b.txt, build/d.txt, sub/c.txt, x.log"),
        (["-c", "docs/*.txt"], "a.txt, b.txt"),
        (["-c", "docs/**/*.txt"], "a.txt, b.txt, sub/c.txt"),
        (["-c", "~/docs/a.txt"], "alpha"),
        (["-c", "~/docs/sub/*", "-c", "docs/a.txt"], "a.txt, sub/c.txt"),
        (["-c", "docs/build"], "d.txt"),
    ],
)
@pytest.mark.usefixtures("docs")
def test_what_no_shell_has_expanded_is_expanded(shell: Shell, serve: Serve, given: list[str], answer: str) -> None:
    serve(SHOW)

    result = shell.here("run", "what is there?", *given, HOME=str(shell.folder))

    assert (result.stdout.strip(), result.exit_code) == (answer, 0), result.stderr


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(shell: Shell, serve: Serve) -> None:
    serve(SHOW)
    for name in ("[1].txt", "1.txt", "~"):
        (shell.folder / name).write_text(f"the file {name}")

    assert shell.here("run", "q", "-c", "[1].txt").stdout == "the file [1].txt\n"
    assert shell.here("run", "q", "-c", "~").stdout == "the file ~\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "-c '' names nothing; is a shell variable empty? `-c .` takes the current folder"),
        (" ", "-c ' ' names nothing; is a shell variable empty?"),
        ("/", "-c / takes the whole machine; is a shell variable empty?"),
        ("docs/..//../../../../../../../..", "takes the whole machine"),
        ("docs/*.csv", "no file matches docs/*.csv; check the pattern"),
        ("report.pdf", "report.pdf is a PDF file, not text: turn it into text first, as `pdftotext` does"),
        ("ftp://example.org/a", "ftp is not supported"),
    ],
)
@pytest.mark.usefixtures("docs")
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    shell: Shell, serve: Serve, given: str, words: str
) -> None:
    server = serve(SHOW)
    (shell.folder / "report.pdf").write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    result = shell.here("run", "q", "-c", given)

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in " ".join(result.stderr.split())
    assert server.requests == []


@pytest.mark.parametrize("command", [["ask", "nobody", "q"], ["fork", "nobody", "--question", "q"]])
def test_so_it_is_by_every_command_that_takes_a_context(shell: Shell, command: list[str]) -> None:
    result = shell.here(*command, "-c", "", "--no-ignore")

    assert result.exit_code == 2
    assert "-c '' names nothing" in result.stderr


@pytest.fixture
def site(shell: Shell) -> Iterator[str]:
    """A server on loopback that shows the shell's folder."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(shell.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_address_that_is_named_by_hand_may_be_of_this_machine(shell: Shell, serve: Serve, site: str) -> None:
    serve(SHOW)
    (shell.folder / "a.txt").write_text("from the web")

    assert shell.here("run", "q", "-c", f"{site}/a.txt").stdout == "from the web\n"
    assert shell.here("run", "q", "-c", (shell.folder / "a.txt").as_uri()).stdout == "from the web\n"


def test_bytes_that_are_no_utf8_in_names_and_questions_are_taken_and_shown(shell: Shell, serve: Serve) -> None:
    """As old archives and other terminals give them."""
    server = serve(SHOW)
    name, question = os.fsdecode(b"caf\xe9.txt"), os.fsdecode(b"what is in the caf\xe9?")
    (shell.folder / name).write_text("data")

    done = shell.run("run", question, "-c", name, "--thread", "mine")

    assert (done.returncode, done.stdout) == (0, b"data\n"), done.stderr.decode()
    assert "what is in the café?" in str(server.requests[0].messages)
    for args in (["logs"], ["logs", "mine"], ["logs", "--json"], ["logs", "mine", "--json"], ["ps"]):
        shown = shell.run(*args)
        assert shown.returncode == 0, shown.stderr.decode()
    assert "caf" in shell.run("logs").stdout.decode()
    asked = shell.run("ask", "mine", question, "-c", name)
    forked = shell.run("fork", "mine", "--question", question, "-c", name)
    assert (asked.returncode, forked.returncode) == (0, 0), asked.stderr.decode() + forked.stderr.decode()


def test_a_folder_with_such_names_is_taken_and_shown(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(repr(sorted(context)))"))
    folder = os.fsencode(shell.folder) + b"/\xe4rger"
    os.mkdir(folder)
    for name in (b"caf\xe9.txt", b"a.txt"):
        Path(os.fsdecode(folder + b"/" + name)).write_text("data")

    done = shell.run("run", "q", "-c", os.fsdecode(folder))

    assert done.returncode == 0, done.stderr.decode()
    assert "caf" in done.stdout.decode()
