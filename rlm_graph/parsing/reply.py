"""What a reply of the root model comes to."""

from __future__ import annotations

from rlm_graph.state import Cell, FinalAnswer, PendingToolCall
from rlm_graph.value import Value


class ToolRequest(Value):
    """A native tool call, which wants a tool message in reply."""

    id: str
    name: str
    cell: int | None = None
    """Index in the reply's cells of the cell that it asked for."""
    valid: bool = True
    """False if the client could not read its arguments. Some clients do not send such a call back to the provider, and
    then no tool message may answer it."""


class Reply(Value):
    """What a reply of the root model asks for: cells to run, or an answer, or a correction. It is just one of these."""

    cells: tuple[Cell, ...] = ()
    """In the order in which they run. A prose `FINAL_VAR(x)` is the cell `FINAL_VAR("x")`."""
    final: FinalAnswer | None = None
    """An answer given in prose; only if there are no cells."""
    tool_calls: tuple[ToolRequest, ...] = ()
    calls: tuple[PendingToolCall, ...] = ()
    """Of a model that calls tools: all calls of the reply, those that asked for the cells among them."""
    notes: tuple[str, ...] = ()
    """What was not taken, and why, for the model to read with the output."""
    problem: str | None = None
    """A correction of one sentence, if there are neither cells nor an answer."""
    text: str = ""
    """The prose around the code, without drafts and quotations."""
