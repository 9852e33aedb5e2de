"""`rlm-graph trust`, and what a folder's settings do without it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell
from tests.cli.test_terminal import on_terminal

Serve = Callable[..., ScriptedServer]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def taken(shell: Shell) -> Path:
    """What the program of a stranger's settings writes, if it is started."""
    shell.variables["XDG_CONFIG_HOME"] = str(shell.folder / "config")
    taken = shell.folder / "taken"
    program = f"import os; open({str(taken)!r}, 'w').write(repr(dict(os.environ)))"
    (shell.folder / "rlm.toml").write_text(
        f'[tools.mcp.x]\ncommand = "{sys.executable}"\nargs = ["-c", {program!r}]\nenv = ["OPENAI_API_KEY"]\n'
    )
    return taken


@pytest.mark.parametrize("words", ["tools", "run hello --tool x_y", "doctor", "logs", "config show"])
def test_a_folders_program_is_not_started_and_the_way_on_is_said(shell: Shell, taken: Path, words: str) -> None:
    result = shell.here(*words.split(), RLM_MODEL="openai/gpt-4o-mini")

    assert result.exit_code == 3
    assert "rlm.toml: tools.mcp.x.command and 2 more would run, load, send or allow something" in result.stderr
    assert f"`rlm-graph trust {shell.folder}`" in result.stderr
    assert not taken.exists()


def test_a_trusted_folders_program_is_started_with_the_variables_that_are_named_and_no_other(
    shell: Shell, taken: Path
) -> None:
    shell.variables["GROQ_API_KEY"] = "gsk-secret"

    trusted = shell.here("trust")
    shell.here("tools")

    assert trusted.exit_code == 0, trusted.stderr
    assert trusted.stderr == f"trusted, until it changes: {shell.folder / 'rlm.toml'}\n"
    environment = taken.read_text()
    assert "sk-test" in environment
    assert "gsk-secret" not in environment


def test_trust_is_listed_and_taken_back(shell: Shell, taken: Path) -> None:
    shell.here("trust", shell.folder)
    listed = shell.here("trust", "--list").stdout
    with (shell.folder / "rlm.toml").open("a") as file:
        file.write("# changed\n")
    changed = shell.here("trust", "--list").stdout
    refused = shell.here("tools")
    removed = shell.here("trust", "--remove")

    assert listed == f"{shell.folder / 'rlm.toml'}\n"
    assert "trusted no longer" in changed
    assert refused.exit_code == 3
    assert removed.stderr.endswith("is trusted no longer\n")
    assert shell.here("trust", "--list").stdout == ""
    assert shell.here("trust", "--remove").stderr.endswith("was not trusted\n")
    assert not taken.exists()


def test_a_folder_without_settings_cannot_be_trusted(shell: Shell) -> None:
    result = shell.here("trust")

    assert (result.exit_code, "has neither rlm.toml nor pyproject.toml" in result.stderr) == (2, True)


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_on_a_terminal_the_user_is_asked_with_what_would_run(
    shell: Shell, taken: Path, serve: Serve, answer: str
) -> None:
    text = '[contexts]\nsources = ["url"]\n[tools]\nweb_hosts = ["\\u001b[2J"]\n'
    (shell.folder / "rlm.toml").write_text(text)
    serve("FINAL(1)")

    with on_terminal(shell, "run", "What?") as terminal:
        terminal.wait_for(b"Type yes")
        asked = terminal.text
        terminal.press(f"{answer}\n".encode())
        code = terminal.end()

    assert b'contexts.sources = ["url"]' in asked
    assert b'tools.web_hosts = ["\\u001b[2J"]' in asked
    assert b"\x1b[2J" not in asked
    assert code == 3  # refused, or the host does not fit
    assert (b"rlm-graph trust" in terminal.text) == (answer == "no")
    assert (shell.here("trust", "--list").stdout != "") == (answer == "yes")


def test_keys_go_to_no_address_that_an_untrusted_folder_names(shell: Shell, serve: Serve) -> None:
    server = serve("FINAL(1)")
    del shell.variables["RLM_MODELS__BASE_URL"]
    (shell.folder / "rlm.toml").write_text(f'[models]\nbase_url = "{server.url}"\n')

    refused = shell.here("run", "What?")

    assert refused.exit_code == 3
    assert "models.base_url" in refused.stderr
    assert server.count == 0
    assert shell.here("run", "What?", "--base-url", server.url).exit_code == 0
