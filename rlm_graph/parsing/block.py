"""What a reply consists of, in the order in which it was written."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from rlm_graph.state import Cell


@dataclass(frozen=True)
class Prose:
    """Text for a reader. `plain`: it stands by itself, in no list and with nothing beside it on its lines."""

    text: str
    plain: bool = False


@dataclass(frozen=True)
class Code:
    """Code to run."""

    cell: Cell


@dataclass(frozen=True)
class Helpers:
    """A text whose code defines what the other cells use."""

    text: str


@dataclass(frozen=True)
class Final:
    """An answer, claimed outside code."""

    value: JsonValue


@dataclass(frozen=True)
class FinalExpression:
    """An answer that only the REPL can give."""

    code: str


@dataclass(frozen=True)
class Output:
    """Text that poses as the output of code."""


@dataclass(frozen=True)
class DraftEnd:
    """The end of a draft whose beginning was not written: all before it is draft."""


@dataclass(frozen=True)
class Draft:
    """A draft. `closed` is False if the reply ended inside it."""

    closed: bool


@dataclass(frozen=True)
class OtherFence:
    """A fence that is not run."""

    language: str
    body: str


@dataclass(frozen=True)
class Quote:
    """A block quote."""


@dataclass(frozen=True)
class Broken:
    """Something that was meant to be code or an answer, and what to tell the model."""

    problem: str


Block = Prose | Code | Helpers | Final | FinalExpression | Output | DraftEnd | Draft | OtherFence | Quote | Broken
