"""Blocks of a message that are text files, in the forms in which clients write them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

_KINDS = frozenset({"file", "text-plain", "document", "input_file", "media"})
"""LangChain's `file` and `text-plain`, OpenAI's `file` and `input_file`, Anthropic's `document`, Gemini's `media`."""
_TEXTUAL = frozenset(
    {
        "application/csv", "application/ecmascript", "application/javascript", "application/json", "application/jsonl",
        "application/ld+json", "application/markdown", "application/ndjson", "application/rtf", "application/sql",
        "application/toml", "application/typescript", "application/x-httpd-php", "application/x-javascript",
        "application/x-ndjson", "application/x-python", "application/x-sh", "application/x-tex", "application/x-yaml",
        "application/xml", "application/yaml",
    }
)  # fmt: skip
_UNSAID = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""Types that say nothing: the bytes tell whether they are text."""
LOOK_BYTES = 8_192
"""Of a file without a type that are looked through for a NUL, which text does not have."""


@dataclass(frozen=True)
class TextFile:
    """A file that stands in a message."""

    name: str
    """Empty if it has none."""
    content: str | bytes


def text_file(block: Mapping[str, Any]) -> TextFile | None:
    """Return the file that the block is, if it may be text: bytes without a type have still to be looked at.

    None for what is no file, for images, sounds and other binary types, and for a file that the block only refers to:
    addresses are not fetched, for a message may come from anywhere.
    """
    if block.get("type") not in _KINDS:
        return None
    inner = block.get("file") if isinstance(block.get("file"), Mapping) else block.get("source")
    parts: Mapping[str, Any] = {**block, **(inner if isinstance(inner, Mapping) else {})}
    kind = _first(parts, "mime_type", "media_type", "mimeType")
    content = _content(parts)
    if content is None and (url := _data_url(parts)) is not None:
        told, content = url
        kind = kind or told
    if content is None or not (isinstance(content, str) or _may_be_text(kind, content)):
        return None
    return TextFile(_name(block) or _name(parts), content)


def _content(parts: Mapping[str, Any]) -> str | bytes | None:
    told = parts.get("source_type", parts.get("type"))
    text = parts.get("text")
    if isinstance(text, str):
        return text
    data = parts.get("base64", parts.get("data", parts.get("file_data")))
    if not isinstance(data, str) or data.startswith("data:"):
        return None
    if told == "text" and "base64" not in parts:  # Anthropic's plain text
        return data
    return _decoded(data)


def _data_url(parts: Mapping[str, Any]) -> tuple[str, bytes] | None:
    for name in ("file_data", "data", "base64", "url"):
        url = parts.get(name)
        if isinstance(url, str) and url.startswith("data:"):
            head, _, data = url[5:].partition(",")
            decoded = _decoded(data) if head.endswith(";base64") else unquote_to_bytes(data)
            return None if decoded is None else (head.partition(";")[0], decoded)
    return None


def _decoded(data: str) -> bytes | None:
    try:
        return base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError):
        return None


def _may_be_text(kind: str, content: bytes) -> bool:
    kind = kind.partition(";")[0].strip().lower()
    if kind in _UNSAID:
        return b"\0" not in content[:LOOK_BYTES]
    return kind.startswith("text/") or kind.endswith(("+json", "+xml")) or kind in _TEXTUAL


def _name(parts: Mapping[str, Any]) -> str:
    for place in (parts, parts.get("metadata"), parts.get("extras")):
        if isinstance(place, Mapping) and (name := _first(place, "filename", "file_name", "name", "title")):
            return name
    return ""


def _first(parts: Mapping[str, Any], *names: str) -> str:
    found = (parts.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), "")
