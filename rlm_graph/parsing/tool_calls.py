"""A reply of a model that calls tools → the calls to be made, or a final answer, or one correction.

A reply without a tool call is read as any other. Beside other calls an answer is not taken, for the model has not seen
what they return.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.tool import tool_call
from pydantic import JsonValue

from rlm_graph.parsing.block import Block, Broken, Code, Final, FinalExpression
from rlm_graph.parsing.broken_off import parse_broken_off
from rlm_graph.parsing.calls import Call
from rlm_graph.parsing.reading import as_json, final_answer, parse
from rlm_graph.parsing.reply import Reply
from rlm_graph.parsing.tools import asked
from rlm_graph.state import Cell, FinalAnswer, PendingToolCall

UNREADABLE = "The arguments are no JSON object, so nothing was called; send the call again."
NOT_TAKEN = (
    "The answer was not taken, because the other calls of your reply had not been answered yet. Read what they "
    "returned first."
)


MAX_CALLS = 128
"""Calls of one reply that are made."""
TOO_MANY = f"Only the first {MAX_CALLS} calls of a reply are made; send this one again."


def answerable(message: AIMessage) -> AIMessage:
    """Return the message with an id of its own for each call, and calls whose arguments are no JSON among the others.

    Providers want each call that they are shown answered under its id; clients differ in whether they show them those
    whose arguments could not be read.
    """
    calls = [(call["name"], call["args"], call["id"]) for call in message.tool_calls]
    calls += [
        (call["name"] or "", {"arguments": call["args"] or ""}, call["id"]) for call in message.invalid_tool_calls
    ]
    if not calls:
        return message
    ids: list[str] = []
    for _, _, given in calls:
        ids.append(given if given and given not in ids else f"call_{len(ids) + 1}_of_{len(calls)}")
    mended = [tool_call(name=name, args=args, id=id) for (name, args, _), id in zip(calls, ids, strict=True)]
    return message.model_copy(update={"tool_calls": mended, "invalid_tool_calls": []})


def parse_tool_calls(
    message: AIMessage,
    *,
    hosts: Mapping[str, str],
    invalid: int = 0,
    variables: Collection[str] = (),
    broken_off: str | None = None,
) -> Reply:
    """Read a reply that `answerable` has returned. `hosts` has the host's function for each tool that has one.

    The last `invalid` calls are those whose arguments could not be read. A call of any other tool is a cell, as with
    `python`, or the answer. `broken_off` says, to the model, what happened to a reply that was broken off: what is
    whole in it is taken, as `parse_broken_off` has it.
    """
    if not message.tool_calls:
        if broken_off is not None:
            return parse_broken_off(message, problem=broken_off, variables=variables)
        return parse(message, variables=variables)
    cells: list[Cell] = []
    calls: list[PendingToolCall] = []
    claimed: list[tuple[int, FinalAnswer | Cell]] = []
    valid = len(message.tool_calls) - invalid
    for position, call in enumerate(message.tool_calls):
        name, id = call["name"], call["id"] or ""
        if position >= MAX_CALLS:
            calls.append(PendingToolCall(id=id, name=name, problem=TOO_MANY))
            continue
        if broken_off is not None and position >= valid:
            calls.append(PendingToolCall(id=id, name=name, problem=broken_off))
            continue
        given: Any = as_json(call["args"])
        if name in hosts and position < valid and isinstance(given, dict):
            calls.append(PendingToolCall(id=id, name=name, function=hosts[name], arguments=given))
            continue
        match Broken(UNREADABLE) if name in hosts else _asked(name, _raw(given, position < valid)):
            case Code(cell):
                calls.append(PendingToolCall(id=id, name=name, cell=len(cells)))
                cells.append(cell)
            case Final(value):
                claimed.append((position, final_answer(value)))
                calls.append(PendingToolCall(id=id, name=name, problem=NOT_TAKEN))
            case FinalExpression(code):
                claimed.append((position, Cell(code=code)))
                calls.append(PendingToolCall(id=id, name=name, problem=NOT_TAKEN))
            case Broken(problem):
                calls.append(PendingToolCall(id=id, name=name, problem=problem))
            case _:
                calls.append(PendingToolCall(id=id, name=name, problem=UNREADABLE))
    if cells or any(call.function for call in calls):
        return Reply(cells=tuple(cells), calls=tuple(calls))
    if not claimed:
        return Reply(problem=calls[0].problem)
    position, answer = claimed[0]
    if isinstance(answer, FinalAnswer):
        return Reply(final=answer)
    taken = calls[position].model_copy(update={"problem": None, "cell": 0})
    return Reply(cells=(answer,), calls=(*calls[:position], taken, *calls[position + 1 :]))


def _asked(name: str, arguments: JsonValue) -> Block:
    variable = arguments.get("variable") if name == "final_answer" and isinstance(arguments, dict) else None
    if isinstance(variable, str) and variable.isidentifier():
        return FinalExpression(f'FINAL_VAR("{variable}")')
    return asked(Call(name, arguments))


def _raw(given: Any, is_valid: bool) -> JsonValue:
    if is_valid or not isinstance(given, dict):
        value: JsonValue = given
        return value
    return str(given.get("arguments", ""))
