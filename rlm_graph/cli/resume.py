"""`rlm-graph resume`: take a run up where it stood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlm_graph.cli import flags as given

if TYPE_CHECKING:
    from rlm_graph.runs.decisions import Verdict
    from rlm_graph.runs.service import RunService
    from rlm_graph.storage.runs import Run


@given.expanded
def resume(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="The run's id, or how it starts; the date may be left out.", show_default=False
        ),
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Let what waits for approval happen.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Do not let it happen; the model is told.")] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="With --reject: why, for the model to read.")
    ] = None,
    edit: Annotated[
        Path | None, typer.Option("--edit", metavar="FILE", help="Run the code in FILE in place of what waits.")
    ] = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="N", help="Decide only the N-th of several that wait, not all.")
    ] = None,
    wait: given.Wait = False,
    last: Annotated[bool, typer.Option("--last", help="The run that was started last.")] = False,
    *,
    models: given.Models,
    allowed: given.Allowed,
    ceilings: given.Ceilings,
    place: given.Place,
    shown: given.Shown,
) -> None:
    """Go on with a run where it stood, by default the last one that is not finished.

    For a run that was interrupted, failed, or met a ceiling. Nothing that was answered is asked again. The run keeps
    the settings that it was started with; flags change them. A run that met a ceiling goes on under a larger one, and
    a run that is done prints its answer again. A run that waits for approval shows again what waits, or goes on with
    your decision.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.approvals import verdict_of
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.errors import InputError

    if run is not None and last:
        raise InputError("say which run: its id, or --last for the one started last, not both")
    one = given.number("--call", call, "the number of a request that waits, from 1 on")
    verdict = verdict_of(approve=approve, reject=reject, reason=reason, edit=edit, call=one)
    output = shown.checked()
    changes = given.changes(models, ceilings, place, **allowed.changes())
    settings = load_settings(changes, config=place.config)
    given.check_database(place.db, settings)
    ceilings.remark_on_caps(settings)
    with session.opened(settings) as opened:
        name = run or opened.call(opened.service.get() if last else _unfinished(opened.service, verdict)).id
        code = opened.carry_out(
            lambda watch: opened.service.resume(name, changes, verdict=verdict, watch=watch),
            output,
            changes=changes,
            wait=wait,
        )
    raise typer.Exit(code)


async def _unfinished(service: RunService, verdict: Verdict | None) -> Run:
    """Return the newest run that was stopped, failed or waits; with a verdict, the newest one that waits.

    Raises `InputError` if there is none.
    """
    from rlm_graph.cli.printing import remark
    from rlm_graph.errors import Hint, InputError

    wanted = ("waiting",) if verdict is not None else ("interrupted", "failed", "waiting")
    after = None
    while True:
        page = await service.list(limit=50, after=after)
        for run in page.runs:
            if run.status in wanted:
                remark(f"run {run.id} ({run.status}): {' '.join(run.question.split())}")
                return run
        after = page.after
        if after is None:
            what = "waits for approval" if verdict is not None else "was stopped, has failed or waits"
            raise InputError(f"no run in {service.place} {what}; name one by its id", hint=Hint("list_runs"))
