"""A context laid out as the texts to be taken in, before any of them is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rlm_graph.context.items import Item
from rlm_graph.context.notes import Notes


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


def unique(name: str, taken: Counter[str]) -> str:
    """Return `name`, or `name (2)` and so on if it is taken, and take it."""
    result = name
    while result in taken:
        # The count goes on from where it was: thousands of pieces may come from one document.
        taken[name] += 1
        result = f"{name} ({taken[name]})"
    taken[result] = 1
    return result


def a(value: object) -> str:
    """Return the type of a value, as a message names it."""
    return f"of type {type(value).__name__}"
