"""`rlm-graph resume`: take a run up where it stood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlm_graph.cli import flags as given


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
        int | None, typer.Option("--call", metavar="N", help="Decide only the N-th of several that wait, not all.")
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
    """Go on with a run where it stood.

    For a run that was interrupted, failed, or met a ceiling. Nothing that was answered is asked again. The run keeps
    the settings that it was started with; flags change them. A run that met a ceiling goes on under a larger one, and
    a run that is done prints its answer again. A run that waits for approval shows again what waits, or goes on with
    your decision.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.approvals import verdict_of
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.errors import InputError

    if (run is None) != last:
        raise InputError("say which run: its id, or --last for the one started last; `rlm-graph logs` lists them")
    verdict = verdict_of(approve=approve, reject=reject, reason=reason, edit=edit, call=call)
    output = shown.checked()
    changes = given.changes(models, ceilings, place, **allowed.changes())
    settings = load_settings(changes, config=place.config)
    with session.opened(settings) as opened:
        name = run if run is not None else opened.call(opened.service.get()).id
        code = opened.carry_out(
            lambda watch: opened.service.resume(name, changes, verdict=verdict, watch=watch), output, wait=wait
        )
    raise typer.Exit(code)
