"""Surrogates: the halves of characters for which UTF-8, and with it JSON, checkpoints and databases, has no form.

A text gets them where a program cuts or joins texts as UTF-16, as models' replies and their code do. What has to come
back as it was is stored in another form, by `CheckpointValue`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def has_surrogates(text: str) -> bool:
    """Tell whether there is no UTF-8 for the text."""
    if text.isascii():  # which a text knows without looking
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def whole(text: str) -> str:
    """Return the text with the two halves of a character joined, and U+FFFD in the place of each one that is alone."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if has_surrogates(text) else text


def each_text(value: Any, change: Callable[[str], str] = whole) -> Any:
    """Return a value of JSON with every text in it changed, keys included; the value itself if that changes nothing."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        items = [each_text(item, change) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        pairs = [(each_text(key, change), each_text(item, change)) for key, item in value.items()]
        same = all(new[0] is old[0] and new[1] is old[1] for new, old in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    return value
