"""`rlm-graph run`: answer a question."""

from __future__ import annotations

from typing import Annotated

import typer

from rlm_graph.cli import flags as given


def run(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.", show_default=False)],
    context: given.Context = None,
    model: given.Model = None,
    sub_model: given.SubModel = None,
    base_url: given.BaseUrl = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="KIND",
            help="Where the model's code runs: local, docker, pyodide, e2b, or a kind that another package brings.",
        ),
    ] = None,
    unsafe_local: Annotated[
        bool,
        typer.Option(
            "--unsafe-local",
            help="Run the model's code on this machine with your own rights, if the kernel cannot confine it.",
        ),
    ] = False,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="KIND", help="How the root model works: repl (writes code), or tools."),
    ] = None,
    tool: given.Tools = None,
    memory: given.Memory = None,
    max_turns: given.MaxTurns = None,
    max_cost: given.MaxCost = None,
    max_tokens: given.MaxTokens = None,
    timeout: given.Timeout = None,
    max_subcalls: given.MaxSubcalls = None,
    sub_calls: given.SubCalls = None,
    allow_unpriced: given.AllowUnpriced = False,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="FILE|MODULE:CLASS",
            help="Form that the answer must have: a JSON schema, or a pydantic model or TypedDict.",
        ),
    ] = None,
    approve: Annotated[
        str | None,
        typer.Option("--approve", metavar="WHAT", help="Wait for your approval before each: code, or subcalls."),
    ] = None,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="ID", help="Name of the new run, instead of a made-up one.")
    ] = None,
    wait: given.Wait = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
    as_json: given.AsJson = False,
    output: given.OutputFile = None,
    stream: given.Stream = False,
    quiet: given.Quiet = False,
    verbose: given.Verbose = False,
) -> None:
    """Answer a question over a long input.

    The answer alone goes to stdout: as it is when piped, with control characters written out on a terminal. Progress
    and the summary go to stderr. Keys come from the environment, such as OPENAI_API_KEY.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.asking import check_question, take
    from rlm_graph.cli.output import Output
    from rlm_graph.runs.answer_form import read_schema
    from rlm_graph.runs.job import Job, model_of, prepare
    from rlm_graph.settings import Settings
    from rlm_graph.storage.runs import check_name

    check_question(question)
    out = Output(json=as_json, file=output, stream=stream, quiet=quiet, verbose=verbose)
    out.check()
    place = {"kind": executor or ("local" if unsafe_local else None), "unsafe": unsafe_local or None}
    budget = given.budget_flags(
        max_turns=max_turns, max_cost=max_cost, max_tokens=max_tokens,
        timeout=timeout, max_subcalls=max_subcalls, sub_calls=sub_calls, allow_unpriced=allow_unpriced,
    )  # fmt: skip
    settings = Settings.load(
        given.settings_flags(
            model=model,
            sub_model=sub_model,
            base_url=base_url,
            db=db,
            encrypt=encrypt,
            executor={key: value for key, value in place.items() if value is not None},
            budget=budget,
            tools=tool,
            protocol=protocol,
            memory=memory,
        ),
        config=config,
    )
    policy = given.policy(approve)
    if thread is not None:
        check_name(thread)
    form = read_schema(schema) if schema is not None else None
    model_of(settings)
    sources = context or []
    reference = take(sources, settings, out)
    prepare(settings)
    job = Job(question, settings, context=reference, schema=form, approve=policy)
    raise typer.Exit(session.start(job, source=", ".join(sources), id=thread, output=out, wait=wait))
