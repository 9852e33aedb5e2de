"""`rlm-graph fork`: a new run that begins where another one stood."""

from __future__ import annotations

from typing import Annotated

import typer

from rlm_graph.cli import flags as given


def fork(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run's id, or how it starts; the date may be left out.", show_default=False
        ),
    ],
    at: Annotated[
        int | None,
        typer.Option(
            "--at", metavar="TURN", min=0, help="After this turn; 0: before the first; by default at the end."
        ),
    ] = None,
    question: Annotated[
        str | None, typer.Option("--question", metavar="TEXT", help="Ask this, instead of going on with the question.")
    ] = None,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="ID", help="Name of the new run, instead of a made-up one.")
    ] = None,
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
    """Begin a new run where another one stood after a turn, and go on from there.

    The new run has the variables and the conversation of that moment, and asks nothing again that was answered before
    it. The other run stays as it is. `rlm-graph logs RUN` shows the numbers of its turns.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.asking import check_question, take
    from rlm_graph.cli.output import Output
    from rlm_graph.errors import InputError
    from rlm_graph.settings import Settings
    from rlm_graph.storage.runs import check_name

    if question is not None:
        check_question(question)
    elif context:
        raise InputError("-c goes with --question: only a new question looks at a new context")
    if thread is not None:
        check_name(thread)
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
    raise typer.Exit(session.fork(run, at, question, reference, settings, flags, out, id=thread, wait=wait))
