"""What the database knows of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from rlm_graph.budget import Usage
from rlm_graph.errors import InputError
from rlm_graph.value import Value

Status = Literal["running", "done", "partial", "failed", "interrupted", "waiting"]
"""`partial`: a ceiling ended it. `waiting`: for approval.
A run whose process died stays `running` in the database until it is resumed; `Runs.seen` tells it from one at work."""


class Run(Value):
    """What the database knows of a run beside its checkpoints."""

    id: str
    question: str
    source: str
    """What the context was taken from, as the user named it."""
    model: str
    settings: dict[str, JsonValue]
    """All that is needed to take the run up again. No secrets: keys come from the environment each time."""
    status: Status
    usage: Usage
    """As of `updated`."""
    created: float
    """Unix seconds, as `updated`."""
    updated: float


class Page(Value):
    """Some of the runs, the newest first."""

    runs: tuple[Run, ...]
    after: str | None
    """What leads to those that come next; None at the end."""


def cursor(created: float, row: int) -> str:
    """Return what leads to the runs that come after the one that was created then and lies in that row."""
    return f"{created!r}-{row}"


def position(after: str) -> tuple[float, int]:
    """Return the time and the row that a cursor stands for. Raises `InputError` if it is none."""
    created, _, row = after.rpartition("-")
    try:
        return float(created), int(row)
    except ValueError:
        raise InputError(f"{after!r} leads to no page of runs") from None
