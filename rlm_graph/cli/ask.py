"""`rlm-graph ask`: another question to a run that has answered."""

from __future__ import annotations

from typing import Annotated

import typer

from rlm_graph.cli import flags as given


def ask(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run's id, or how it starts; the date may be left out.", show_default=False
        ),
    ],
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What else you want to know.", show_default=False)
    ],
    context: given.Context = None,
    wait: given.Wait = False,
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
    """Ask a run that has answered another question.

    It finds the variables and the conversation as the run left them; what -c names joins its contexts. The ceilings are
    the run's, counted anew; flags change them.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.asking import check_question, take
    from rlm_graph.cli.output import Output
    from rlm_graph.settings import Settings

    check_question(question)
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
    reference = take(context or [], settings, out)
    raise typer.Exit(session.ask(run, question, reference, settings, flags, out, wait=wait))
