"""`rlm-graph init`: write a settings file that says what can be set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from tomlkit import TOMLDocument
    from tomlkit.items import Item, Table

_OPENING = """\
Settings of rlm-graph for this folder. What stands behind a # is the default; delete the # to change it.
Flags and RLM_* variables come before this file: RLM_MODEL, RLM_BUDGET__MAX_TURNS.
Keys never stand here: set the provider's own variable, such as OPENAI_API_KEY.
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
    import tomlkit

    from rlm_graph.described import descriptions

    simple: list[tuple[str, Any]] = []
    tables: list[tuple[str, Any]] = []
    for name, field in settings.model_fields.items():
        value = field.get_default() if field.default_factory is None else None
        (tables if hasattr(value, "model_dump") else simple).append((name, value))
    described = descriptions(settings)
    file = tomlkit.document()
    _comment(file, _OPENING)
    for name, value in simple:
        file.add(tomlkit.nl())
        _comment(file, described.get(name))
        _entry(file, name, value)
    for name, value in tables:
        file.add(tomlkit.nl())
        _comment(file, described.get(name))
        table = _table(value)
        file.add(name, table)
        table.trivia.indent = ""  # tomlkit parts a table from what stands before it, which here is its own comment
    return tomlkit.dumps(file)


def _table(value: BaseModel) -> Table:
    import tomlkit

    from rlm_graph.described import descriptions

    table = tomlkit.table()
    described = descriptions(type(value))
    for name in type(value).model_fields:
        _comment(table, described.get(name))
        _entry(table, name, getattr(value, name))
    return table


def _comment(place: TOMLDocument | Table, text: str | None) -> None:
    import tomlkit

    for line in (text or "").splitlines():
        place.add(tomlkit.comment(line))


def _entry(place: TOMLDocument | Table, name: str, value: Any) -> None:
    """Write a setting commented out, without the space that comments begin with, so that the two can be told apart."""
    from tomlkit.items import Comment, Trivia

    # TOML has no null: a key without a value shows that nothing is set.
    shown = "" if value is None else f" {_inline(value).as_string()}"
    place.add(Comment(Trivia(comment=f"#{name} ={shown}")))


def _inline(value: Any) -> Item:
    import tomlkit

    if not isinstance(value, dict):
        item: Item = tomlkit.item(value)
        return item
    table = tomlkit.inline_table()
    table.update(value)
    return table
