"""The exit codes that scripts rely on."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rlm_graph import errors
from rlm_graph.cli.app import EPILOG, Commands
from rlm_graph.cli.exits import Exit, exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RLMError("x"), 1),
        (errors.InputError("x"), 2),
        (errors.RunNotFoundError("x"), 2),
        (errors.SetupError("x"), 3),
        (errors.StorageError("x"), 3),
        (errors.BudgetExceeded("max_turns", spent=1, limit=1), 4),
        (errors.ExecutorError("x"), 5),
        (errors.ReplLostError("x"), 5),
        (errors.ModelError("x"), 6),
    ],
)
def test_each_kind_of_error_has_its_code(error: errors.RLMError, code: int) -> None:
    assert exit_code(error) == code


def test_the_help_lists_every_code() -> None:
    for code in Exit:
        assert f"{code.value} " in EPILOG


class Interrupted:
    """Ctrl-C that comes while a class is made of it, as pydantic's descriptors are of each model."""

    def __set_name__(self, owner: type, name: str) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_while_a_module_makes_its_classes_is_an_interrupt() -> None:
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
    app.callback()(lambda: None)

    @app.command()
    def imports() -> Any:
        return type("Model", (), {"field": Interrupted()})

    ended = CliRunner().invoke(app, ["imports"])

    assert ended.exit_code == 130
    assert ended.output == ""
