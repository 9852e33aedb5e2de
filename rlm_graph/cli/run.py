"""`rlm-graph run`: answer a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rlm_graph.cli import flags as given

if TYPE_CHECKING:
    from rlm_graph.runs.answer_form import Schema


Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.", show_default=False)]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="KIND",
        help="Where the model's code runs: local, docker, pyodide, e2b, or a kind that another package brings. "
        "By default local.",
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="KIND",
        help="How the root model works: repl (writes code), or tools. By default repl.",
    ),
]
SchemaGiven = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="FILE|MODULE:CLASS",
        help="Form that the answer must have: a JSON schema, or a pydantic model or TypedDict. By default a text.",
    ),
]
Approve = Annotated[
    str | None,
    typer.Option(
        "--approve",
        metavar="WHAT",
        help="Wait for your approval before each: code, or subcalls. By default for neither.",
    ),
]


@given.expanded
def run(
    question: Question,
    context: given.Context = None,
    no_ignore: given.NoIgnore = False,
    *,
    models: given.Models,
    executor: Executor = None,
    unsafe_local: given.UnsafeLocal = False,
    protocol: Protocol = None,
    tool: given.Tools = None,
    memory: given.Memory = None,
    ceilings: given.Ceilings,
    schema: SchemaGiven = None,
    approve: Approve = None,
    thread: given.Thread = None,
    wait: given.Wait = False,
    place: given.Place,
    shown: given.Shown,
) -> None:
    """Answer a question over a long input.

    The answer alone goes to stdout: as it is when piped, with control characters written out on a terminal. Progress
    and the summary go to stderr. Keys come from the environment, such as OPENAI_API_KEY.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.asking import check_question, take
    from rlm_graph.cli.local_models import need_model
    from rlm_graph.cli.piped import with_piped
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.context.notes import printable
    from rlm_graph.runs.job import Job
    from rlm_graph.storage.runs import check_name

    question = check_question(question)
    output = shown.checked()
    where = {"kind": executor or ("local" if unsafe_local else None), "unsafe": unsafe_local or None}
    changes = given.changes(
        models,
        ceilings,
        place,
        executor={key: value for key, value in where.items() if value is not None},
        tools=tool,
        protocol=protocol,
        memory=memory,
        no_ignore=no_ignore,
    )
    settings = load_settings(changes, config=place.config)
    ceilings.remark_on_caps(settings)
    policy = given.policy(approve)
    if thread is not None:
        check_name(thread)
    form = _form(schema)
    need_model(settings)
    sources = with_piped(context or [])
    with session.opened(settings) as opened:
        reference = take(sources, settings, output)
        job = Job(question, settings, context=reference, schema=form, approve=policy)
        code = opened.carry_out(
            lambda watch: opened.service.start(job, source=", ".join(map(printable, sources)), id=thread, watch=watch),
            output,
            changes=changes,
            wait=wait,
        )
    raise typer.Exit(code)


def _form(schema: str | None) -> Schema | None:
    from rlm_graph.cli.standard_streams import others_print_to_stderr
    from rlm_graph.errors import InputError
    from rlm_graph.runs.answer_form import read_schema

    try:
        with others_print_to_stderr():  # the class's module may
            return None if schema is None else read_schema(schema)
    except InputError as error:
        error.problem = f"--schema {error.problem}"
        raise
