"""What a caller may give as a context, laid out as the texts to be taken in."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlm_graph.context import fetch
from rlm_graph.context.folders import text_files
from rlm_graph.context.items import FileItem, FolderFileItem, Item, StreamItem, TextItem, UrlItem, unreadable
from rlm_graph.context.notes import Notes
from rlm_graph.errors import InputError

MAX_SOURCE_CHARS = 4096
"""A longer list of paths is not kept: it would be in every checkpoint."""


@dataclass(frozen=True)
class Plan:
    """The texts of one context, in order."""

    kind: Literal["str", "list", "dict"]
    items: Sequence[Item]
    title: str
    """What it is, for messages."""
    source: str = ""
    """The paths and URLs to take it from once more, one a line; nothing if there are none."""
    notes: Notes = field(default_factory=Notes)


def plan(context: object, *, literal: bool) -> Plan:
    """Lay out whatever `ContextStore.take` accepts but a reference. Raises `InputError` for anything else."""
    if isinstance(context, str):
        return _plan_text(context, literal=literal)
    if isinstance(context, os.PathLike):
        return _plan_path(_absolute(context))
    if isinstance(context, Mapping):
        return _plan_mapping(context)
    if isinstance(context, (list, tuple)):
        return _plan_sequence(context)
    if isinstance(getattr(context, "page_content", None), str):
        return Plan("str", [TextItem(None, context.page_content)], "the document")  # type: ignore[attr-defined]  # seen above
    if hasattr(context, "read"):
        return Plan("str", [StreamItem(None, context)], "the stream")
    raise InputError(
        f"a context cannot be {_a(context)}; give a text, a Path, a URL, or a list or dict of texts"
        + ("; decode the bytes first" if isinstance(context, (bytes, bytearray, memoryview)) else "")
    )


def _plan_text(text: str, *, literal: bool) -> Plan:
    if literal or not fetch.is_url(text):
        result = Plan("str", [TextItem(None, text)], "the text")
        if not literal and _names_a_file(text):
            result.notes.add("this text names an existing file; pass a Path to read it", None)
        return result
    if fetch.scheme(text) == "file":
        return _plan_path(fetch.local_path(text))
    return Plan("str", [UrlItem(None, text)], fetch.bare(text), fetch.bare(text))


def _names_a_file(text: str) -> bool:
    if not 0 < len(text) < 4096 or "\n" in text:
        return False
    try:
        return os.path.exists(text)
    except ValueError:  # a NUL, a lone surrogate
        return False


def _plan_path(path: Path) -> Plan:
    if is_folder(path):
        notes = Notes()
        files = text_files(path, notes)
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


def _plan_mapping(texts: Mapping[Any, Any]) -> Plan:
    items: list[Item] = []
    for name, text in texts.items():
        if not isinstance(name, str):
            raise InputError(f"a name in the context is {_a(name)}; a dict must give texts by names that are texts")
        items.append(TextItem(name, _text_of(text, f"the context's {name!r}")))
    return Plan("dict", items, "the dict")


def _plan_sequence(members: Sequence[Any]) -> Plan:
    if members and all(isinstance(member, os.PathLike) for member in members):
        return combination(members)
    texts = [_text_of(member, f"item {number} of the context") for number, member in enumerate(members, 1)]
    names = [_document_source(member) for member in members]
    if all(names):
        taken: Counter[str] = Counter()
        return Plan(
            "dict", [TextItem(_unique(name, taken), text) for name, text in zip(names, texts, strict=True)], "the list"
        )
    return Plan("list", [TextItem(None, text) for text in texts], "the list")


def _text_of(member: object, what: str) -> str:
    text = getattr(member, "page_content", member)
    if not isinstance(text, str):
        raise InputError(f"{what} is {_a(member)}; give texts, or Paths and nothing else")
    return text


def _document_source(member: object) -> str:
    metadata = getattr(member, "metadata", None)
    source = metadata.get("source") if isinstance(metadata, Mapping) else None
    return source if isinstance(source, str) else ""


def combination(contexts: Sequence[object]) -> Plan:
    """Lay out several files, folders, URLs and streams as one dict by name; a single one as it is by itself.

    Files are named by their path from the folder that holds all that is given, so that a name does not depend on the
    working directory and two files share one only if they are the same file. What else would share a name gets a
    number.
    """
    if not contexts:
        raise InputError("no context was given; give a text, a Path or a URL")
    if len(contexts) == 1:
        return plan(contexts[0], literal=False)
    paths = [_path_of(context) for context in contexts]
    base = _common_folder([path for path in paths if path is not None])
    items: dict[str, Item] = {}
    notes = Notes()
    for path in paths:
        for item in _path_items(path, base, notes) if path is not None else ():
            # A file that is named besides its folder is wanted even if it is binary.
            if isinstance(item, FileItem) or item.name not in items:
                items[str(item.name)] = item
    taken = Counter(dict.fromkeys(items, 1))
    for context, path in zip(contexts, paths, strict=True):
        if path is None:
            item = _named_item(context, taken)
            items[str(item.name)] = item
    sources = [
        path_source(path) if path is not None else _web_source(context)
        for context, path in zip(contexts, paths, strict=True)
    ]
    source = "\n".join(sources) if all(sources) else ""
    return Plan(
        "dict", list(items.values()), "what was given", source if len(source) <= MAX_SOURCE_CHARS else "", notes
    )


def _path_of(context: object) -> Path | None:
    if isinstance(context, os.PathLike):
        return _absolute(context)
    if isinstance(context, str) and fetch.is_url(context) and fetch.scheme(context) == "file":
        return fetch.local_path(context)
    return None


def _common_folder(paths: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # no paths, or on several drives
        return Path()


def _path_items(path: Path, base: Path, notes: Notes) -> list[Item]:
    name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
    if not is_folder(path):
        return [FileItem(name, path)]
    return [
        FolderFileItem(f"{name}/{inner}" if name != "." else inner, path / inner) for inner in text_files(path, notes)
    ]


def _named_item(context: object, taken: Counter[str]) -> Item:
    if isinstance(context, str):
        if fetch.is_url(context):
            return UrlItem(_unique(fetch.bare(context), taken), context)
        return TextItem(_unique("text", taken), context)
    if hasattr(context, "read"):
        return StreamItem(_unique("stdin", taken), context)
    raise InputError(f"{_a(context)} cannot be combined with other contexts; give Paths, URLs, streams or texts")


def _web_source(context: object) -> str:
    return fetch.bare(context) if isinstance(context, str) and fetch.is_url(context) else ""


def from_source(source: str) -> Plan:
    """Lay out what a reference's `source` names."""
    lines: list[object] = [line if fetch.is_url(line) else Path(line) for line in source.split("\n")]
    return combination(lines)


def path_source(path: Path) -> str:
    """Return a path as a line of text: as a URL if its name is not UTF-8 or has a line break; nothing for a pipe."""
    if path.is_fifo():
        return ""
    name = str(path)
    return name if name.isprintable() else path.as_uri()


def _absolute(path: os.PathLike[Any]) -> Path:
    return Path(os.path.abspath(os.fsdecode(path)))


def _unique(name: str, taken: Counter[str]) -> str:
    """Return `name`, or `name (2)` and so on if it is taken, and take it."""
    result = name
    while result in taken:
        # The count goes on from where it was: thousands of pieces may come from one document.
        taken[name] += 1
        result = f"{name} ({taken[name]})"
    taken[result] = 1
    return result


def _a(value: object) -> str:
    return f"of type {type(value).__name__}"
