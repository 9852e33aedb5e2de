"""Help: complete, and there at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from rlm_graph.budget import Budget
from rlm_graph.cli.examples import EXAMPLES
from rlm_graph.settings import Settings
from tests.cli.conftest import Shell
from tests.test_docs import check_command, commands, root

COMMANDS = ("run", "agent", "resume", "ask", "fork", "logs", "rm", "du", "tools", "init", "doctor", "config")
HEAVY = ("litellm", "langgraph", "langchain_core", "docker", "e2b", "rich", "pydantic_settings")


def test_help_lists_the_commands_and_the_exit_codes(shell: Shell) -> None:
    result = shell.here("--help")

    assert result.exit_code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout
    assert "Exit codes: 0 ok" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_every_option_has_a_help_text(command: str, shell: Shell) -> None:
    result = shell.here(command, "--help")

    assert result.exit_code == 0
    assert "Usage: rlm-graph " + command in result.stdout
    options = [line for line in result.stdout.splitlines() if line.startswith("  -")]
    assert all(len(line.split()) > 2 or index + 1 < len(options) for index, line in enumerate(options))


@pytest.mark.parametrize(
    "args", [("--help",), ("--version",), ("fork", "--help"), ("config", "-h"), ("memory", "rm", "-h")]
)
def test_help_that_cannot_be_written_is_an_error_in_one_line(args: tuple[str, ...], shell: Shell) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            shell.command(*args), stdout=full, stderr=subprocess.PIPE, cwd=shell.folder, env=shell.environment()
        )

    assert done.returncode == 1
    assert done.stderr == b"error: stdout cannot be written: No space left on device\n"


def test_help_takes_little_processor_time(shell: Shell) -> None:
    shell.run("--help")  # the first run compiles the modules

    spent = []
    for _ in range(3):
        process = subprocess.Popen(
            shell.command("--help"), stdout=subprocess.DEVNULL, cwd=shell.folder, env=_measured(shell)
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        spent.append(usage.ru_utime + usage.ru_stime)

    assert min(spent) < 0.3


def _measured(shell: Shell) -> dict[str, str]:
    """The environment without what measures coverage: that costs more than the help."""
    return {name: value for name, value in shell.environment().items() if not name.startswith("COV")}


def test_help_loads_nothing_heavy(shell: Shell) -> None:
    program = (
        "import atexit, sys; sys.argv = ['rlm-graph', '--help']\n"
        f"atexit.register(lambda: print([name for name in {HEAVY!r} if name in sys.modules]))\n"
        "from rlm_graph.cli import main\n"
        "main()"  # which leaves the process, after what was registered to be done at its end
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=shell.folder, env=shell.environment()
    )

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_the_packages(shell: Shell) -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        expected = version("rlm-graph")
    except PackageNotFoundError:
        pytest.skip("rlm-graph is not installed here")

    assert shell.here("--version").stdout == f"rlm-graph {expected}\n"


def test_a_mistyped_command_names_the_one_that_was_meant(shell: Shell) -> None:
    result = shell.here("doctro")

    assert result.exit_code == 2
    assert "Did you mean 'doctor'" in result.stderr


def test_no_help_text_is_cut(shell: Shell) -> None:
    for group in ("--help",), ("memory", "--help"), ("config", "--help"):
        assert "..." not in shell.here(*group).stdout.replace("[ARGS]...", "")


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_command_shows_an_example_that_its_flags_allow(path: str, shell: Shell) -> None:
    shown = shell.here(*path.split(), "--help").stdout

    assert "\nExample" in shown.replace("\n  Example", "\nExample")
    for example in EXAMPLES[path]:
        assert f"\n    {example}\n" in shown
        [words] = commands(example)
        check_command(words)


def test_every_command_has_an_example(shell: Shell) -> None:
    def paths(command: Any, above: tuple[str, ...] = ()) -> Iterator[str]:
        below = getattr(command, "commands", None)
        if below is None:
            yield " ".join(above)
        else:
            for name, each in below.items():
                yield from paths(each, (*above, name))

    assert set(paths(root())) == set(EXAMPLES)


def test_the_defaults_that_the_help_names_are_those_that_hold() -> None:
    options = {name: each for each in root().commands["run"].params for name in each.opts}
    flags = {"max_turns": "--max-turns", "max_cost_usd": "--max-cost", "max_tokens": "--max-tokens"}
    flags |= {"timeout_s": "--timeout", "max_subcalls": "--max-subcalls"}

    for name, flag in flags.items():
        default = getattr(Budget(), name)
        shown = "none" if default is None else f"{default:g}"
        assert options[flag].help.endswith(f" By default {shown}."), flag
    assert f"By default {Settings().executor.kind}." in options["--executor"].help
    assert f"By default {Settings().protocol}." in options["--protocol"].help
