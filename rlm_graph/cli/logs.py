"""`rlm-graph logs`: what runs there are, and what one of them did."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rlm_graph.cli import flags as given
from rlm_graph.cli.printing import cost, counted, printable, put, put_drawn, put_json, spent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.tree import Tree

    from rlm_graph.runs.listing import RunRecord
    from rlm_graph.state import CallSummary, Execution, Turn
    from rlm_graph.storage.runs import Run

_QUESTION_CHARS = 60
_CALLS_SHOWN = 20
_STYLES = {
    "done": "green",
    "partial": "yellow",
    "interrupted": "yellow",
    "waiting": "magenta",
    "failed": "red",
    "running": "cyan",
}


def logs(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="The run's id, or how it starts; all runs by default.", show_default=False),
    ] = None,
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """List the runs, or show what one did.

    Of a run: its turns with the code, what that printed, its calls, and what was spent. The turns' numbers are those
    that `rlm-graph fork --at` takes.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.trusting import load_settings

    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt), config=config)
    with session.opened(settings) as opened:
        if run is None:
            listed = opened.call(opened.service.list(limit=None))
            _list(listed.runs, as_json=as_json, place=opened.service.place)
        else:
            _show(opened.call(opened.service.record(run)), as_json=as_json)


def _list(runs: Sequence[Run], *, as_json: bool, place: str) -> None:
    if as_json:
        put_json([run.model_dump(mode="json", exclude={"settings"}) for run in runs])
        return
    if not runs:
        put(f"no runs yet in {place}")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("run", "started", "status", "model", "turns", "cost", "question"):
        table.add_column(title, no_wrap=title != "question")
    for run in runs:
        question = " ".join(run.question.split())
        shown = question if len(question) <= _QUESTION_CHARS else question[: _QUESTION_CHARS - 1] + "…"
        cells = (run.id, _when(run), run.status, run.model, str(run.usage.turns), cost(run.usage), shown)
        row = [Text(printable(cell)) for cell in cells]
        row[2].stylize(_STYLES[run.status])
        table.add_row(*row)
    put_drawn(table)


def _show(record: RunRecord, *, as_json: bool) -> None:
    run, answer = record.run, record.answer
    if as_json:
        shown = {
            "run": run.model_dump(mode="json", exclude={"usage"}),
            "turns": [turn.model_dump(mode="json") for turn in record.turns],
            "answer": answer.model_dump(mode="json") if answer is not None else None,
            "usage": record.usage.model_dump(mode="json"),
        }
        put_json(shown)
        return
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(printable(f"{run.id} · {run.status} · {run.model} · {_when(run)}")))
    tree.add(Text(printable(f"question: {run.question}")))
    forked = run.settings.get("forked")
    if isinstance(forked, dict):
        tree.add(Text(printable(f"forked from: {forked['run']} after turn {forked['turn']}")))
    for context in record.contexts:
        parts = f" in {counted(context.parts, 'text')}" if context.kind != "str" else ""
        named = f"context: {context.source or 'as given'}, {counted(context.chars, 'character')}{parts}"
        tree.add(Text(printable(named)))
    for turn in record.turns:
        _add_turn(tree, turn)
    if answer is not None:
        ending = "answer" if answer.complete else f"best answer so far ({answer.ceiling or 'incomplete'})"
        tree.add(Text(printable(f"{ending}: {answer.text}")))
    tree.add(Text(f"spent: {spent(record.usage)}"))
    put_drawn(tree)


def _add_turn(tree: Tree, turn: Turn) -> None:
    from rich.text import Text

    from rlm_graph.cli.progress import outcome

    branch = tree.add(Text(printable(f"turn {turn.number}: {outcome(turn)}")))
    for note in turn.notes:
        branch.add(Text(printable(f"note: {note}")))
    for execution in turn.executions:
        _add_cell(branch, execution, [call for call in turn.calls if call.cell == execution.number])
    for call in turn.calls:
        if not call.cell:  # of the model itself, or of a cell that outlived its host
            branch.add(Text(printable(_call(call))))


def _call(call: CallSummary) -> str:
    times = f" × {call.requests}" if call.requests > 1 or call.function.endswith("_batched") else ""
    failed = f" · {call.failed} failed" if call.failed else ""
    asked = f" of {' and '.join(call.agents)}" if call.agents else ""
    return f"{call.function}{asked}{times} · {counted(call.usage.tokens, 'token')} · {cost(call.usage)}{failed}"


def _add_cell(branch: Tree, execution: Execution, calls: list[CallSummary]) -> None:
    from rich.text import Text

    from rlm_graph.cli.progress import cut, status

    made = f", {counted(execution.calls, 'call')}" if execution.calls else ""
    cell = branch.add(Text(f"cell {execution.number}: {status(execution)}{made}, {execution.wall_s:.2f} s"))
    cell.add(Text(printable(execution.code.strip("\n"))))
    for call in calls[:_CALLS_SHOWN]:
        cell.add(Text(printable(_call(call))))
    if len(calls) > _CALLS_SHOWN:
        cell.add(Text(f"and {counted(len(calls) - _CALLS_SHOWN, 'call')} more; --json has all"))
    for name, text, chars in (
        ("out", execution.stdout, execution.stdout_chars),
        ("err", execution.stderr, execution.stderr_chars),
    ):
        if text:
            cell.add(Text(printable(f"{name}: {cut(text, chars)}")))
    if execution.value is not None:
        cell.add(Text(printable(f"value: {cut(execution.value, len(execution.value))}")))
    if execution.error is not None:
        cell.add(Text(printable(f"{execution.error.type}: {execution.error.message}")))


def _when(run: Run) -> str:
    return datetime.fromtimestamp(run.created).strftime("%Y-%m-%d %H:%M")
