"""`rlm-graph resume`: take a run up where it stood."""

from __future__ import annotations

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
    last: Annotated[bool, typer.Option("--last", help="The run that was started last.")] = False,
    model: given.Model = None,
    sub_model: given.SubModel = None,
    base_url: given.BaseUrl = None,
    max_turns: given.MaxTurns = None,
    max_cost: given.MaxCost = None,
    max_tokens: given.MaxTokens = None,
    timeout: given.Timeout = None,
    max_subcalls: given.MaxSubcalls = None,
    allow_unpriced: given.AllowUnpriced = False,
    db: given.Database = None,
    config: given.Config = None,
    as_json: given.AsJson = False,
    output: given.OutputFile = None,
    quiet: given.Quiet = False,
    verbose: given.Verbose = False,
) -> None:
    """Go on with a run where it stood.

    For a run that was interrupted, failed, or met a ceiling. Nothing that was answered is asked again. The run keeps
    the settings that it was started with; flags change them. A run that met a ceiling goes on under a larger one, and
    a run that is done prints its answer again.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.output import Output
    from rlm_graph.errors import InputError
    from rlm_graph.settings import Settings

    if (run is None) != last:
        raise InputError("say which run: its id, or --last for the one started last; `rlm-graph logs` lists them")
    out = Output(json=as_json, file=output, quiet=quiet, verbose=verbose)
    out.check()
    budget = given.budget_flags(
        max_turns=max_turns, max_cost=max_cost, max_tokens=max_tokens,
        timeout=timeout, max_subcalls=max_subcalls, allow_unpriced=allow_unpriced,
    )  # fmt: skip
    flags = given.settings_flags(model=model, sub_model=sub_model, base_url=base_url, db=db, budget=budget)
    settings = Settings.load(flags, config=config)
    raise typer.Exit(session.resume(run, settings, flags, out))
