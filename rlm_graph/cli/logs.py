"""`rlm-graph logs`: what runs there are, and what one of them did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rlm_graph.cli import flags as given
from rlm_graph.cli.printing import cost, printable, put, put_drawn, put_json, when

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlm_graph.runs.record import RunRecord
    from rlm_graph.storage.runs import Run

_QUESTION_CHARS = 60
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
    full: Annotated[
        bool,
        typer.Option("--full", help="Of a run, cut nothing: the model's words, outputs, prompts and replies."),
    ] = False,
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """List the runs, or show what one did.

    Of a run: each question with its answer, and between them the turns: what the model said, its code, what that
    printed, what it asked of sub-models and was answered, what waits for approval, and what was spent. Of prompts, the
    first 2,000 characters of a call are kept. The turns' numbers are those that `rlm-graph fork --at` takes.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.trusting import load_settings

    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt), config=config)
    given.check_database(db, settings)
    with session.opened(settings) as opened:
        if run is None:
            listed = opened.call(opened.service.list(limit=None))
            _list(listed.runs, as_json=as_json, place=opened.service.place)
        else:
            _show(opened.call(opened.service.record(run)), as_json=as_json, full=full)


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
        cells = (run.id, when(run), run.status, run.model, str(run.usage.turns), cost(run.usage), shown)
        row = [Text(printable(cell)) for cell in cells]
        row[2].stylize(_STYLES[run.status])
        table.add_row(*row)
    put_drawn(table)


def _show(record: RunRecord, *, as_json: bool, full: bool) -> None:
    from rlm_graph.cli import run_view

    if as_json:
        put_json(run_view.as_json(record))
    else:
        put_drawn(run_view.tree_of(record, full=full))
