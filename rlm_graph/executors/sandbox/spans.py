"""Which bytes of its text a stored context is made of: all of them, or those of a piece of a larger one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def span(parts: Sequence[dict[str, Any]]) -> tuple[int, int, list[dict[str, Any]]]:
    """Return where the parts begin and how many bytes they span, and the parts as counted from there."""
    start = min((part["start"] for part in parts), default=0)
    end = max((part["start"] + part["bytes"] for part in parts), default=0)
    return start, end - start, [{**part, "start": part["start"] - start} for part in parts]
