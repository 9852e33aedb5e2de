"""`rlm-graph init`: write a settings file that says what can be set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

_OPENING = """\
# Settings of rlm-graph for this folder. What stands behind a # is the default; delete the # to change it.
# Flags and RLM_* variables come before this file: RLM_MODEL, RLM_BUDGET__MAX_TURNS.
# Keys never stand here: set the provider's own variable, such as OPENAI_API_KEY.
"""


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("rlm.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
) -> None:
    """Write a settings file to start from.

    It holds every setting with its meaning and its default, all of them commented out.
    """
    from rlm_graph.cli.output import write_whole
    from rlm_graph.cli.printing import say
    from rlm_graph.errors import InputError
    from rlm_graph.settings import Settings

    if path.exists() and not force:
        raise InputError(f"{path} is there already; --force replaces it")
    try:
        write_whole(path, template(Settings).encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    say(f"wrote {path}; `rlm-graph config show` shows what holds")


def template(settings: type[BaseModel]) -> str:
    """Return the file: every field with its docstring and its default, tables last, as TOML wants it."""
    simple: list[tuple[str, FieldInfo, Any]] = []
    tables: list[tuple[str, FieldInfo, Any]] = []
    for name, field in settings.model_fields.items():
        value = field.get_default() if field.default_factory is None else None
        (tables if hasattr(value, "model_dump") else simple).append((name, field, value))
    lines = [_OPENING]
    for name, field, value in simple:
        lines += [*_comment(field.description), _entry(name, value), ""]
    for name, field, value in tables:
        lines += [*_comment(field.description), f"[{name}]", *_table(value), ""]
    return "\n".join(lines)


def _table(value: BaseModel) -> Iterator[str]:
    for name, field in type(value).model_fields.items():
        yield from _comment(field.description)
        yield _entry(name, getattr(value, name))


def _comment(text: str | None) -> Iterator[str]:
    for line in (text or "").splitlines():
        yield f"# {line}".rstrip()


def _entry(name: str, value: Any) -> str:
    # TOML has no null: a key without a value shows that nothing is set.
    return f"#{name} =" if value is None else f"#{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    import json

    return "{}" if value == {} else json.dumps(value)
