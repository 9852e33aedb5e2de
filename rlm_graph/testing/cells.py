"""What a scripted cell can do, one event after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue


@dataclass(frozen=True)
class Call:
    """The cell calls a function of the host, such as `Call("llm_query", {"prompt": "..."})`."""

    function: str
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
    catch: bool = False
    """Whether the code catches an error that the host answers with; else the error ends the cell."""


@dataclass(frozen=True)
class Output:
    """The cell prints. A function is given the results of the calls so far."""

    text: str | Callable[[list[JsonValue]], str]
    stream: Literal["stdout", "stderr"] = "stdout"


@dataclass(frozen=True)
class Bind:
    """The cell assigns to a name."""

    name: str
    type: str = "str"
    size: int | None = None
    preview: str = ""


@dataclass(frozen=True)
class Expression:
    """The `repr` of the cell's last expression."""

    text: str


@dataclass(frozen=True)
class Final:
    """The cell gives the answer, and ends. A function is given the results of the calls so far."""

    value: JsonValue | Callable[[list[JsonValue]], JsonValue]
    via: Literal["FINAL", "FINAL_VAR", "answer"] = "FINAL"
    exact: bool = True


@dataclass(frozen=True)
class Fail:
    """An exception ends the cell."""

    type: str
    message: str = ""
    line: int | None = 1


@dataclass(frozen=True)
class Compute:
    """The cell computes until `until` is set, it is interrupted or killed, or its time is up."""

    until: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Die:
    """The cell takes its REPL down with it."""


@dataclass(frozen=True)
class Break:
    """The sandbox itself fails: `run` raises `ExecutorError`, the first time it comes here."""

    message: str = "the sandbox failed"


Event = Call | Sequence[Call] | Output | Bind | Expression | Final | Fail | Compute | Die | Break
"""What a cell does next. A sequence of calls is made at once, as from threads."""

CellScript = Mapping[str, Sequence[Event]] | Callable[[str], Sequence[Event]]
"""What each cell does, by its code."""
