"""Values of Python and JSON as contexts: texts, bytes, documents, records, objects and tables, each in a stated form.

| given | becomes |
|---|---|
| a text, bytes | one text; bytes are decoded as a file is |
| a list, tuple or iterator of texts | a list of texts |
| a list of JSON values without a text among them: records, rows | a list of texts, each a JSON value |
| a table of pandas, polars or pyarrow | the same, of its rows |
| a dict | texts by name; what is no text under a name becomes its JSON |

A text is never read as anything else, whatever it begins with.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, KeysView, Mapping, Sequence, Set, ValuesView
from typing import Any

from rlm_graph.context.items import BytesItem, Item, PlacedItem, TextItem
from rlm_graph.context.notes import Notes
from rlm_graph.context.plans import Plan, a, unique
from rlm_graph.errors import InputError
from rlm_graph.handed import TextAt

TAKEN = "a text, bytes, a Path, a URL, a list of texts or of JSON values, or a dict of them"
AS_JSON = "given as JSON; json.loads reads it"

_Bytes = (bytes, bytearray, memoryview)
_PATH = re.compile(r"(~|\.{0,2})/\S*|\S+/\S*|\S+\.[A-Za-z0-9]{1,5}")
_ADDRESS = re.compile(r"(?i:https?|file)://\S+")


def text(given: str) -> Plan:
    """Lay out one text. If all of it looks like a path or an address, a note says that it was not read as one."""
    result = Plan("str", [TextItem(None, given)], "the text")
    if (remark := mistaken(given)) is not None:
        result.notes.add(remark, None)
    return result


def mistaken(given: str) -> str | None:
    """Say what a text was perhaps meant as, by its form alone: not every client may know whether a file is there."""
    if len(given) < 4096 and _ADDRESS.fullmatch(given):
        return "this text looks like an address, and was not fetched; give a URL to have it fetched"
    if len(given) < 4096 and _PATH.fullmatch(given):
        return "this text looks like a path, and no file was read; give a Path to have it read"
    return None


def value(given: object) -> Plan | None:
    """Lay out a value other than a text; nothing if it is of no kind that is taken. Raises `InputError`."""
    if isinstance(given, TextAt):
        return Plan("str", [PlacedItem(None, given)], "the text")
    if isinstance(given, _Bytes):
        return Plan("str", [BytesItem(None, bytes(given))], "the bytes")
    if isinstance(page := getattr(given, "page_content", None), str):
        return Plan("str", [TextItem(None, page)], "the document")
    if isinstance(given, Mapping):
        return _mapping(given)
    if isinstance(given, (Sequence, Iterator, KeysView, ValuesView)):
        return _sequence(list(given))
    if (rows := _rows(given)) is not None:
        return _as_json(rows, "row", default=str)
    if isinstance(given, Set):
        raise InputError("a set has no order, so a context cannot be one; give sorted(...) of it")
    return None


def _mapping(given: Mapping[Any, Any]) -> Plan:
    items: list[Item] = []
    notes = Notes()
    for name, member in given.items():
        if not isinstance(name, str):
            raise InputError(f"a name in the context is {a(name)}; a dict must give texts by names that are texts")
        item = _text_item(name, member)
        if item is None:
            item = TextItem(name, _json(member, f"the context's {name!r}"))
            notes.add(AS_JSON, name)
        items.append(item)
    return Plan("dict", items, "the dict", notes=notes)


def _sequence(members: list[Any]) -> Plan:
    items = [_text_item(None, member) for member in members]
    texts = [item for item in items if item is not None]
    if members and not texts:
        return _as_json(members, "item")
    for number, (item, member) in enumerate(zip(items, members, strict=True), 1):
        if item is None:
            raise InputError(
                f"item {number} of the context is {a(member)}, beside texts; give texts alone, or JSON values alone"
            )
    names = [_document_source(member) for member in members]
    if members and all(names):
        taken: Counter[str] = Counter()
        named = [_text_item(unique(name, taken), member) for name, member in zip(names, members, strict=True)]
        return Plan("dict", [item for item in named if item is not None], "the list")
    return Plan("list", texts, "the list")


def _text_item(name: str | None, member: object) -> Item | None:
    """Return what holds text already: a text, the place where one lies, a document, bytes."""
    if isinstance(member, TextAt):
        return PlacedItem(name, member)
    if isinstance(member, _Bytes):
        return BytesItem(name, bytes(member))
    content = getattr(member, "page_content", member)
    return TextItem(name, content) if isinstance(content, str) else None


def _as_json(members: Sequence[Any], what: str, *, default: Any = None) -> Plan:
    notes = Notes()
    notes.add(f"each {what} is {AS_JSON}", None)
    texts = [
        TextItem(None, _json(member, f"{what} {number} of the context", default=default))
        for number, member in enumerate(members, 1)
    ]
    return Plan("list", texts, "the list", notes=notes)


def _json(member: object, what: str, *, default: Any = None) -> str:
    try:
        return json.dumps(member, ensure_ascii=False, default=default)
    except TypeError as error:
        found = re.search(r"of type (\w+)", str(error))
        inside = (
            f"holds a {found[1]}, which" if found and found[1] != type(member).__name__ else f"is {a(member)}, which"
        )
        raise InputError(f"{what} {inside} is no text and no JSON value; give {TAKEN}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{what} contains itself, or is nested too deep to be JSON; give {TAKEN}") from None


def _rows(table: Any) -> list[Any] | None:
    """Return the rows of a table as dicts: pyarrow's, polars's and pandas's each have a method for that.

    What JSON lacks, such as dates, becomes text.
    """
    if not hasattr(table, "columns"):
        return None
    for name, arguments in (("to_pylist", ()), ("to_dicts", ()), ("to_dict", ("records",))):
        if callable(method := getattr(table, name, None)):
            rows = method(*arguments)
            return rows if isinstance(rows, list) else None
    return None


def _document_source(member: object) -> str:
    metadata = getattr(member, "metadata", None)
    source = metadata.get("source") if isinstance(metadata, Mapping) else None
    return source if isinstance(source, str) else ""
