"""What a caller may give as a context, laid out as the texts to be taken in."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_graph.context import values
from rlm_graph.context.folders import text_files
from rlm_graph.context.globs import Glob
from rlm_graph.context.items import FileItem, FolderFileItem, Item, StreamItem, TextItem, UrlItem, unreadable
from rlm_graph.context.notes import Notes
from rlm_graph.context.plans import Plan, a, unique
from rlm_graph.context.url import URL, is_url, local_path
from rlm_graph.errors import InputError
from rlm_graph.handed import TextAt
from rlm_graph.settings import ContextSettings

MAX_SOURCE_CHARS = 4096
"""A longer list of paths is not kept: it would be in every checkpoint."""

_NAMED = (os.PathLike, URL, Glob)
"""What stands for something that is still to be read."""


@dataclass(frozen=True)
class Verbatim:
    """A value in which every text is a text: what code in the sandbox hands over, which must not name a file.

    A text may be handed over by the place where it lies, which is not of the code's choosing.
    """

    value: str | TextAt | Sequence[str | TextAt] | Mapping[str, str | TextAt]


def plan(context: object, settings: ContextSettings) -> Plan:
    """Lay out whatever `ContextStore.take` accepts but a reference. Raises `InputError` for anything else."""
    if isinstance(context, Verbatim):
        return _values(context.value)
    if isinstance(context, Mapping) and (named := _named_in_json(context, settings)) is not None:
        return combination(named, settings)
    if isinstance(context, URL):
        return Plan("str", [UrlItem(None, context)], str(context), str(context))
    if isinstance(context, Glob):
        return combination([context], settings)
    if isinstance(context, os.PathLike):
        return _plan_path(_absolute(context), settings)
    if isinstance(context, (list, tuple)) and any(isinstance(member, _NAMED) for member in context):
        return combination(context, settings)
    if hasattr(context, "read"):
        return Plan("str", [StreamItem(None, context)], "the stream")
    return _values(context)


def _values(context: object) -> Plan:
    result = values.text(context) if isinstance(context, str) else values.value(context)
    if result is None:
        raise InputError(f"a context cannot be {a(context)}; give {values.TAKEN}")
    return result


def _named_in_json(context: Mapping[Any, Any], settings: ContextSettings) -> list[Path | URL] | None:
    """Return what `{"url": ...}` or `{"path": ...}` names; nothing for any other dict.

    A dict with that one key is never a dict of texts, whatever is under it and whoever may use the form: so no text
    becomes an address by standing under an unlucky name, nor an address a text. Raises `InputError` where the agent
    does not allow the form.
    """
    form = next(iter(context), None)
    if len(context) != 1 or form not in ("url", "path"):
        return None
    if form not in settings.sources:
        raise InputError(
            f'a context of the form {{"{form}": ...}} names what this agent does not read: contexts.sources does not '
            f'have "{form}"; give the text itself, or, if it was meant as a dict of texts, another name than "{form}"'
        )
    given = context[form]
    members = given if isinstance(given, list) else [given]
    if not members or not all(isinstance(member, str) and member for member in members):
        raise InputError(f'a context of the form {{"{form}": ...}} needs a text there, or a list of texts')
    return [URL(member) if form == "url" else Path(member) for member in members]


def _plan_path(path: Path, settings: ContextSettings) -> Plan:
    if is_folder(path):
        notes = Notes()
        files = text_files(path, notes, ignore=settings.ignore)
        return Plan("dict", [FolderFileItem(name, path / name) for name in files], str(path), path_source(path), notes)
    return Plan("str", [FileItem(None, path)], str(path), path_source(path))


def is_folder(path: Path) -> bool:
    """Tell folders from what can be read as a file; raise `InputError` for a path that is neither."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        return True
    if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
        return False
    raise InputError(f"{path} is a device or a socket; give a file or a folder")


def combination(contexts: Sequence[object], settings: ContextSettings) -> Plan:
    """Lay out several files, folders, URLs, streams and texts as one dict by name; a single one as it is by itself.

    Files are named by their path from the folder that holds all that is given, so that a name does not depend on the
    working directory and two files share one only if they are the same file. What else would share a name gets a
    number.
    """
    notes = Notes()
    given: list[object] = []
    for context in contexts:
        # What a pattern matches was found, not named: what of it is binary is left out.
        given += map(_Found, context.files(notes, ignore=settings.ignore)) if isinstance(context, Glob) else [context]
    if not given:
        raise InputError(f"no context was given; give {values.TAKEN}")
    if len(given) == 1:
        one = given[0]
        return plan(one.path if isinstance(one, _Found) else one, settings)
    paths = [_path_of(context) for context in given]
    base = _common_folder([path for path in paths if path is not None])
    items: dict[str, Item] = {}
    for context, path in zip(given, paths, strict=True):
        for item in _path_items(context, path, base, notes, settings) if path is not None else ():
            # A file that is named besides its folder is wanted even if it is binary.
            if isinstance(item, FileItem) or item.name not in items:
                items[str(item.name)] = item
    taken = Counter(dict.fromkeys(items, 1))
    for context, path in zip(given, paths, strict=True):
        if path is None:
            item = _named_item(context, taken)
            items[str(item.name)] = item
            if isinstance(context, str) and (remark := values.mistaken(context)) is not None:
                notes.add(remark, item.name)
    sources = [
        path_source(path) if path is not None else str(context) if isinstance(context, URL) else ""
        for context, path in zip(given, paths, strict=True)
    ]
    source = "\n".join(sources) if all(sources) else ""
    return Plan(
        "dict", list(items.values()), "what was given", source if len(source) <= MAX_SOURCE_CHARS else "", notes
    )


@dataclass(frozen=True)
class _Found:
    """A file that a pattern has matched."""

    path: Path


def _path_of(context: object) -> Path | None:
    if isinstance(context, _Found):
        return context.path
    return _absolute(context) if isinstance(context, os.PathLike) else None


def _common_folder(paths: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # no paths, or on several drives
        return Path()


def _path_items(context: object, path: Path, base: Path, notes: Notes, settings: ContextSettings) -> list[Item]:
    name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
    if isinstance(context, _Found):
        return [FolderFileItem(name, path)]
    if not is_folder(path):
        return [FileItem(name, path)]
    files = text_files(path, notes, ignore=settings.ignore)
    return [FolderFileItem(f"{name}/{inner}" if name != "." else inner, path / inner) for inner in files]


def _named_item(context: object, taken: Counter[str]) -> Item:
    if isinstance(context, URL):
        return UrlItem(unique(str(context), taken), context)
    if isinstance(context, str):
        return TextItem(unique("text", taken), context)
    if hasattr(context, "read"):
        return StreamItem(unique("stdin", taken), context)
    raise InputError(f"{a(context)} cannot be combined with other contexts; give Paths, URLs, streams or texts")


def from_source(source: str, settings: ContextSettings) -> Plan:
    """Lay out what a reference's `source` names."""
    return combination([_named_by(line) for line in source.split("\n")], settings)


def _named_by(line: str) -> Path | URL:
    if line.startswith("file://"):
        return local_path(line)
    return URL(line) if is_url(line) else Path(line)


def path_source(path: Path) -> str:
    """Return a path as a line of text: as a URL if its name is not UTF-8 or has a line break; nothing for a pipe."""
    if path.is_fifo():
        return ""
    name = str(path)
    return name if name.isprintable() else path.as_uri()


def _absolute(path: os.PathLike[Any]) -> Path:
    return Path(os.path.abspath(os.fsdecode(path)))
