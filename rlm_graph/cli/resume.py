"""`rlm-graph resume`: take a run up where it stood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlm_graph.cli import flags as given


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
    model: given.Model = None,
    sub_model: given.SubModel = None,
    base_url: given.BaseUrl = None,
    max_turns: given.MaxTurns = None,
    max_cost: given.MaxCost = None,
    max_tokens: given.MaxTokens = None,
    timeout: given.Timeout = None,
    max_subcalls: given.MaxSubcalls = None,
    sub_calls: given.SubCalls = None,
    allow_unpriced: given.AllowUnpriced = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
    as_json: given.AsJson = False,
    output: given.OutputFile = None,
    stream: given.Stream = False,
    quiet: given.Quiet = False,
    verbose: given.Verbose = False,
) -> None:
    """Go on with a run where it stood.

    For a run that was interrupted, failed, or met a ceiling. Nothing that was answered is asked again. The run keeps
    the settings that it was started with; flags change them. A run that met a ceiling goes on under a larger one, and
    a run that is done prints its answer again. A run that waits for approval shows again what waits, or goes on with
    your decision.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.approvals import Verdict
    from rlm_graph.cli.output import Output
    from rlm_graph.errors import InputError
    from rlm_graph.settings import Settings

    if (run is None) != last:
        raise InputError("say which run: its id, or --last for the one started last; `rlm-graph logs` lists them")
    verdict = Verdict.of(approve=approve, reject=reject, reason=reason, edit=edit, call=call)
    out = Output(json=as_json, file=output, stream=stream, quiet=quiet, verbose=verbose)
    out.check()
    budget = given.budget_flags(
        max_turns=max_turns, max_cost=max_cost, max_tokens=max_tokens,
        timeout=timeout, max_subcalls=max_subcalls, sub_calls=sub_calls, allow_unpriced=allow_unpriced,
    )  # fmt: skip
    flags = given.settings_flags(
        model=model, sub_model=sub_model, base_url=base_url, db=db, encrypt=encrypt, budget=budget
    )
    settings = Settings.load(flags, config=config)
    raise typer.Exit(session.resume(run, settings, flags, out, verdict=verdict, wait=wait))
