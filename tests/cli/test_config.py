"""`rlm-graph config show`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]


def test_each_setting_is_shown_with_the_place_it_came_from(shell: Shell) -> None:
    (shell.folder / "rlm.toml").write_text("[budget]\nmax_turns = 3")

    result = shell.here("config", "show", RLM_MODEL="openai/gpt-5")

    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert result.exit_code == 0
    assert rows["model"] == ["openai/gpt-5", "RLM_MODEL"]
    assert rows["budget.max_turns"] == ["3", str(shell.folder / "rlm.toml")]
    assert rows["budget.max_tokens"] == ["none", "default"]
    assert rows["executor.kind"] == ["local", "default"]


def test_json_has_the_same(shell: Shell) -> None:
    result = shell.here("config", "show", "--json", "--db", "mine.sqlite")

    shown = json.loads(result.stdout)
    assert shown["db"] == {"value": "mine.sqlite", "origin": "flag"}
    assert shown["budget.max_turns"] == {"value": 10, "origin": "default"}


def test_no_key_is_ever_shown(shell: Shell) -> None:
    result = shell.here("config", "show", OPENAI_API_KEY="sk-secret")

    assert "sk-secret" not in result.output


def test_a_typo_ends_with_the_code_for_settings_and_one_line(shell: Shell) -> None:
    (shell.folder / "rlm.toml").write_text("[budgte]\nmax_turns = 3")

    result = shell.here("config", "show")

    assert result.exit_code == 3
    expected = f"error: {shell.folder / 'rlm.toml'}: unknown key budgte.max_turns; did you mean budget?\n"
    assert result.stderr == expected


@pytest.mark.parametrize(("after_s", "kept"), [("0", 1), ("60", 0)])
def test_the_settings_file_says_when_a_repl_is_copied(shell: Shell, serve: Serve, after_s: str, kept: int) -> None:
    serve(code("x = 1"), code("FINAL(x)"))
    (shell.folder / "rlm.toml").write_text(f"[snapshots]\nafter_s = {after_s}\n")
    shell.here("run", "q", "--thread", "mine", "--approve", "code")

    waiting = shell.here("resume", "mine", "--approve")

    assert waiting.exit_code == 7, waiting.stderr
    assert len(list((shell.folder / "data").glob("snapshots/*"))) == kept
    assert shell.here("rm", "mine", "--yes").exit_code == 0
    assert list((shell.folder / "data").glob("snapshots/*")) == []
