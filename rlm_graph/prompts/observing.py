"""The observation after a turn: what its cells printed, returned and raised, and what there is now."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlm_graph.budget import Budget, Usage
from rlm_graph.prompts.quoting import cut_middle, fenced, inline, visible
from rlm_graph.prompts.remaining import remaining
from rlm_graph.state import Execution, Turn, Variable

FULL_CELLS = 4
"""Cells of one turn that may each use `max_chars`; more of them share as much."""
MAX_VARIABLES = 60
MAX_NOTE_CHARS = 2_000
MAX_TYPE_CHARS = 60
MOST_LISTED = 1_000
"""Variables that a REPL lists, the newest."""

_TYPE = re.compile(r"[\w.<>]+")

_ENDINGS = {
    "ok": "ran",
    "error": "failed",
    "final": "gave the answer",
    "killed": "was killed, and the REPL with it: its variables are lost",
}


def observation(turn: Turn, *, budget: Budget, usage: Usage, max_chars: int) -> str:
    """Return what the model reads of a turn. The output of one cell takes about `max_chars` characters at most.

    What code printed stands in fences that are longer than any in it, so it cannot pass for our words.
    """
    share = cell_share(turn, max_chars)
    parts = [cell_report(execution, share) for execution in turn.executions]
    return "\n\n".join([*parts, *turn_report(turn, budget=budget, usage=usage)])


def cell_share(turn: Turn, max_chars: int) -> int:
    """Return how many characters of `max_chars` one cell of the turn, or one call, may use."""
    count = max(len(turn.executions), len(turn.answers))
    return min(max_chars, max(200, max_chars * FULL_CELLS // max(FULL_CELLS, count)))


def turn_report(turn: Turn, *, budget: Budget, usage: Usage) -> list[str]:
    """Return what belongs to no single cell: notes, variables, and what is left of the budget."""
    notes = [f"Note: {cut_middle(visible(note), MAX_NOTE_CHARS)}" for note in turn.notes]
    return [*notes, *_lost(turn), _listed(turn.variables), remaining(budget, usage)]


def _lost(turn: Turn) -> list[str]:
    """Say where the input is that code has put something else in the place of."""
    bound = {variable.name for variable in turn.variables}
    if not turn.contexts or "context" not in bound:
        return []
    where = "contexts[-1]" if "contexts" not in bound else "ctx.slice(0)"
    return [f"Note: your code has overwritten `context`. The input is still there: context = {where}"]


def cell_report(execution: Execution, max_chars: int) -> str:
    """Return what the model reads of one cell."""
    quarter = max_chars // 4
    calls = f", {execution.calls:,} {'call' if execution.calls == 1 else 'calls'}" if execution.calls else ""
    parts = []
    room = max_chars
    if execution.stderr:
        shown = cut_middle(execution.stderr, quarter, total=execution.stderr_chars)
        room -= min(quarter, len(execution.stderr))
        parts.append(_block("stderr", execution.stderr_chars or len(execution.stderr), shown))
    if execution.value is not None:
        room -= min(quarter, len(execution.value))
        parts.append(_block("value", len(execution.value), cut_middle(execution.value, quarter)))
    if execution.error is not None:
        words = execution.error.traceback or f"{execution.error.type}: {execution.error.message}"
        room -= min(quarter, len(words))
        line = "" if execution.error.line is None else f" in line {execution.error.line}"
        shown = fenced(cut_middle(words.rstrip(), quarter))
        parts.append(f"{inline(execution.error.type, 80)}{line}: {inline(execution.error.message)}\n{shown}")
    if execution.stdout:
        shown = cut_middle(execution.stdout, room, total=execution.stdout_chars)
        parts.insert(0, _block("stdout", max(execution.stdout_chars, len(execution.stdout)), shown))
    if not parts and execution.status == "ok":
        parts.append("It printed nothing. Print what you want to read.")
    return "\n".join([f"## Cell {execution.number} {_ENDINGS[execution.status]}{calls}", *parts])


def _block(name: str, chars: int, shown: str) -> str:
    return f"{name}, {chars:,} {'character' if chars == 1 else 'characters'}:\n{fenced(shown)}"


def _listed(variables: Sequence[Variable]) -> str:
    if not variables:
        return "Variables: none yet."
    shown = [
        f"{inline(variable.name, 60)} {_type(variable.type)}"
        + ("" if variable.size is None else f"[{variable.size:,}]")
        for variable in variables[-MAX_VARIABLES:]
    ]
    more = len(variables) - len(shown)
    least = "" if len(variables) < MOST_LISTED else "at least "
    return f"Variables: {', '.join(shown)}{f' and {least}{more:,} older ones; SHOW_VARS() lists all' if more else ''}."


def _type(name: str) -> str:
    """Return the name of a type as it is; as inline code if it is no name, for code chooses it and it stands open."""
    return name[:MAX_TYPE_CHARS] if _TYPE.fullmatch(name) else inline(name, MAX_TYPE_CHARS)
