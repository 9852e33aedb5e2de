"""Whose word counts: each setting says whether it counts from a file that lies in a folder.

`./rlm.toml` and `./pyproject.toml` of a folder that somebody cloned are a stranger's text. What runs, loads, sends or
weakens is *guarded*: it counts from there only after the user has trusted the folder. What is *harmless* always counts.
A setting that is neither, or a table of which one is missing, fails a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rlm_graph.settings import plugins

T = TypeVar("T")


@dataclass(frozen=True)
class Mark:
    """Tells whether a value, as a file of the folder says it, counts though nobody has trusted the folder."""

    counts: Callable[[Any, Path], bool]


Harmless = Annotated[T, Mark(lambda value, folder: True)]
"""A setting that any folder may have."""
Guarded = Annotated[T, Mark(lambda value, folder: False)]
"""A setting that only the user, or a folder that the user has trusted, may have."""


def only(harmless: object) -> Mark:
    """Mark a setting of which that one value is harmless, written exactly so."""
    return Mark(lambda value, folder: value is harmless)


def among(harmless: Sequence[str]) -> Mark:
    """Mark a list of which those members are harmless."""
    return Mark(lambda value, folder: isinstance(value, list | tuple) and all(member in harmless for member in value))


def _inside(value: Any, folder: Path) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return all((folder / path).resolve().is_relative_to(folder.resolve()) for path in value)


INSIDE = Mark(_inside)
"""Paths that are harmless where they lead into the folder itself."""


def mark_of(field: FieldInfo) -> Mark | None:
    """Return the mark of a setting; None for a table whose own settings have theirs."""
    return next((mark for mark in field.metadata if isinstance(mark, Mark)), None)


def counts(model: type[BaseModel], path: Sequence[str], value: Any, folder: Path) -> bool:
    """Tell whether the setting at `path` counts with that value, said by a file of a folder that nobody has trusted.

    What is no setting counts: it is refused as that. Imports no package that brings an executor.
    """
    if value == {}:
        return True  # it says nothing
    name, *rest = path
    field = model.model_fields.get(name)
    if field is None:
        return True
    mark = mark_of(field)
    if mark is not None:
        return mark.counts(value, folder)
    if get_origin(field.annotation) is dict:
        rest = rest[1:]
    if not rest:
        return value is None
    tables = list(tables_in(field.annotation))
    if name == "executor" and rest == ["kind"]:
        return _kind_counts(tables, value)
    known = [table for table in tables if rest[0] in table.model_fields]
    if not known and name == "executor":  # an option of what a package brings, if it is one
        return not plugins.installed_plugins()
    return all(counts(table, rest, value, folder) for table in known)


def _kind_counts(tables: Sequence[type[BaseModel]], kind: Any) -> bool:
    for table in tables:
        field = table.model_fields["kind"]
        mark = mark_of(field)
        if field.default == kind:
            return mark is not None and mark.counts(kind, Path())
    return kind not in plugins.all_kinds()  # there is none of that name, which is an error of its own


def tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the tables that a field holds; of executors, those that are built in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation is not plugins.PluginExecutorSettings:
            yield annotation
        return
    for member in get_args(annotation):
        yield from tables_in(member)


def unmarked(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Yield the settings, by their dotted names, that do not say whose word counts."""
    for name, field in model.model_fields.items():
        if mark_of(field) is not None:
            continue
        tables = list(tables_in(field.annotation))
        if not tables:
            yield f"{above}{name}"
        for table in tables:
            yield from unmarked(table, f"{above}{name}.")
