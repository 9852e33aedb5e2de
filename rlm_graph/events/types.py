"""The events that a run tells while it is under way."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt

from rlm_graph.budget import Budget, Ceiling, Usage
from rlm_graph.value import Value

MAX_CHARS = 4_000


class Event(Value):
    """What all events have: which call told it, and which call made that one.

    The calls of a run form a tree: its root is the agent itself, whose `parent_id` is None; below it are the calls that
    its code made. A call of `rlm_query` is the agent that answers it: what that agent tells has the call's id.
    """

    call_id: str
    parent_id: str | None = None


class TurnEvent(Event):
    """The model has replied."""

    kind: Literal["turn"] = "turn"
    number: NonNegativeInt
    """Of the reply to this question, from 1."""
    text: str
    chars: NonNegativeInt
    """Of the whole text."""


class CellEvent(Event):
    """A cell is about to run."""

    kind: Literal["cell"] = "cell"
    language: str
    code: str
    chars: NonNegativeInt


class OutputEvent(Event):
    """A cell has run."""

    kind: Literal["output"] = "output"
    number: NonNegativeInt
    """Of the cell in its run, from 1."""
    status: Literal["ok", "error", "final", "killed"]
    stdout: str
    stderr: str
    value: str | None = None
    error: str | None = None
    """As `ValueError: its words`."""
    calls: NonNegativeInt = 0
    """Calls to the host that it made."""


class CallEvent(Event):
    """A call of code's is about to be made; each prompt of a batch is one. What a child then tells has its id."""

    kind: Literal["call"] = "call"
    function: str
    """`llm_query`, `rlm_query` or the name of a tool."""
    agent: str | None = None
    """The specialist that is asked."""
    prompt: str


class SubcallEvent(Event):
    """A call that code made has been answered; each prompt of a batch is one."""

    kind: Literal["subcall"] = "subcall"
    function: str
    """`llm_query`, `rlm_query` or the name of a tool."""
    agent: str | None = None
    """The specialist that was asked."""
    prompt: str
    reply: str
    error: str | None = None
    usage: Usage


class BudgetEvent(Event):
    """What has been spent, after each step that spends."""

    kind: Literal["budget"] = "budget"
    spent: Usage
    """By the whole run, or by the child that tells it, for the present question."""
    budget: Budget
    ceiling: Ceiling | None = None
    """The one that was met."""


class AnswerEvent(Event):
    """The run has its answer."""

    kind: Literal["answer"] = "answer"
    text: str
    chars: NonNegativeInt
    complete: bool
    ceiling: Ceiling | None = None
