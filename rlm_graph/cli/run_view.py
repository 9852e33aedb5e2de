"""One run as `rlm-graph logs RUN` shows it."""

from __future__ import annotations

import json
import re
from typing import Any

from rich.text import Text
from rich.tree import Tree

from rlm_graph.cli.approvals import body, heading
from rlm_graph.cli.printing import cost, counted, printable, spent, when
from rlm_graph.cli.progress import cut, outcome, status
from rlm_graph.runs.record import RunRecord
from rlm_graph.runs.story import Said
from rlm_graph.state import CallSummary, Execution, SubcallReply, Turn

_CALLS_SHOWN = 20
_REQUESTS_SHOWN = 5
"""Of a batch."""
_LINE_CHARS = 160
_WORDS_SHOWN = 600
_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,}).*?^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
"""Code in a reply, which is shown as the cell that it became."""


def tree_of(record: RunRecord, *, full: bool) -> Tree:
    """Return the run as a tree whose texts are printable; with `full`, nothing that is kept is cut."""
    run = record.run
    tree = Tree(_text(f"{run.id} · {run.status} · {run.model} · {when(run)}"))
    for number, exchange in enumerate(record.exchanges):
        tree.add(_text(f"question: {exchange.question}"))
        if not number:
            _add_origin(tree, record)
        for said in exchange.said:
            if said.turn is None:
                tree.add(_text(f"reply: {said.text if full else cut(said.text, len(said.text), _WORDS_SHOWN)}"))
            else:
                _add_turn(tree, record, said, full=full)
        last = number == len(record.exchanges) - 1
        if exchange.answer is not None and not (last and record.answer is not None):
            tree.add(_text(f"answer: {exchange.answer}"))
    if record.answer is not None:
        ending = "answer" if record.answer.complete else f"best answer so far ({record.answer.ceiling or 'incomplete'})"
        tree.add(_text(f"{ending}: {record.answer.text}"))
    for number, one in enumerate(record.waiting, start=1):
        waits = tree.add(_text(f"waits for approval, {number} of {len(record.waiting)}: {heading(one.request)}"))
        waits.add(_text(body(one.request)))
    tree.add(_text(f"spent: {spent(record.usage)}"))
    return tree


def as_json(record: RunRecord) -> dict[str, Any]:
    """Return all that is kept of the run, in the form of JSON."""
    turns = []
    for turn in record.turns:
        shown = turn.model_dump(mode="json")
        for call, of_call in zip(turn.calls, shown["calls"], strict=True):
            of_call["replies"] = [
                reply.model_dump(mode="json", exclude={"kept"}) for reply in record.replies_to(turn, call)
            ]
        turns.append(shown)
    questions = [
        {
            "question": exchange.question,
            "answer": exchange.answer,
            "replies": [
                {"text": said.text, "turn": None if said.turn is None else said.turn.number} for said in exchange.said
            ],
        }
        for exchange in record.exchanges
    ]
    return {
        "run": record.run.model_dump(mode="json", exclude={"usage"}),
        "questions": questions,
        "turns": turns,
        "waiting": [one.request.model_dump(mode="json") for one in record.waiting],
        "answer": record.answer.model_dump(mode="json") if record.answer is not None else None,
        "usage": record.usage.model_dump(mode="json"),
    }


def _add_origin(tree: Tree, record: RunRecord) -> None:
    forked = record.run.settings.get("forked")
    if isinstance(forked, dict):
        tree.add(_text(f"forked from: {forked['run']} after turn {forked['turn']}"))
    for context in record.contexts:
        parts = f" in {counted(context.parts, 'text')}" if context.kind != "str" else ""
        tree.add(_text(f"context: {context.source or 'as given'}, {counted(context.chars, 'character')}{parts}"))


def _add_turn(tree: Tree, record: RunRecord, said: Said, *, full: bool) -> None:
    turn = said.turn
    assert turn is not None
    branch = tree.add(_text(f"turn {turn.number}: {outcome(turn)}"))
    words = said.text.strip() if full else _FENCED.sub("", said.text).strip()
    if words:
        branch.add(_text(f"said: {words if full else cut(words, len(words), _WORDS_SHOWN)}"))
    for note in turn.notes:
        branch.add(_text(f"note: {note}"))
    for execution in turn.executions:
        calls = [call for call in turn.calls if call.cell == execution.number]
        _add_cell(branch, record, turn, execution, calls, full=full)
    for call in turn.calls:
        if not call.cell:  # of the model itself, or of a cell that outlived its host
            _add_call(branch, record, turn, call, full=full)


def _add_call(branch: Tree, record: RunRecord, turn: Turn, call: CallSummary, *, full: bool) -> None:
    times = f" × {call.requests}" if call.requests > 1 or call.function.endswith("_batched") else ""
    failed = f" · {call.failed} failed" if call.failed else ""
    asked = f" of {' and '.join(call.agents)}" if call.agents else ""
    words = f"{call.function}{asked}{times} · {counted(call.usage.tokens, 'token')} · {cost(call.usage)}{failed}"
    leaf = branch.add(_text(words))
    replies = record.replies_to(turn, call)
    count = max(len(call.prompts), len(replies))
    shown = count if full else min(count, _REQUESTS_SHOWN)
    for index in range(shown):
        if index < len(call.prompts):
            leaf.add(_text(f"asked: {_prompt(call.prompts[index], call.prompt_chars[index], full=full)}"))
        if index < len(replies):
            leaf.add(_text(f"answered: {_reply(replies[index], full=full)}"))
    if count > shown:
        leaf.add(_text(f"and {count - shown:,} more; --full shows them"))


def _prompt(head: str, chars: int, *, full: bool) -> str:
    if not full:
        return _line(head)
    return head if chars <= len(head) else f"{head} … {chars - len(head):,} characters more, which are not kept"


def _reply(reply: SubcallReply, *, full: bool) -> str:
    if reply.error is not None:
        partial = f"; as far as it came: {reply.partial}" if reply.partial else ""
        words = f"! {reply.error_type}: {reply.error}{partial}"
    else:
        words = reply.value if isinstance(reply.value, str) else json.dumps(reply.value, ensure_ascii=False)
    return words if full else _line(words)


def _line(text: str) -> str:
    """Return the text in one line, cut."""
    words = " ".join(text.split())
    return words if len(words) <= _LINE_CHARS else f"{words[:_LINE_CHARS]}…"


def _add_cell(
    branch: Tree, record: RunRecord, turn: Turn, execution: Execution, calls: list[CallSummary], *, full: bool
) -> None:
    made = f", {counted(execution.calls, 'call')}" if execution.calls else ""
    cell = branch.add(_text(f"cell {execution.number}: {status(execution)}{made}, {execution.wall_s:.2f} s"))
    cell.add(_text(execution.code.strip("\n")))
    few = calls if full else calls[:_CALLS_SHOWN]
    for call in few:
        _add_call(cell, record, turn, call, full=full)
    if len(calls) > len(few):
        cell.add(_text(f"and {counted(len(calls) - len(few), 'call')} more; --full shows them"))
    for name, text, chars in (
        ("out", execution.stdout, execution.stdout_chars),
        ("err", execution.stderr, execution.stderr_chars),
    ):
        if text:
            cell.add(_text(f"{name}: {text if full else cut(text, chars)}"))
    if execution.value is not None:
        value = execution.value
        cell.add(_text(f"value: {value if full else cut(value, len(value))}"))
    if execution.error is not None:
        cell.add(_text(f"{execution.error.type}: {execution.error.message}"))


def _text(words: str) -> Text:
    return Text(printable(words))
