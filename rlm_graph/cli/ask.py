"""`rlm-graph ask`: another question to a run that has answered."""

from __future__ import annotations

from typing import Annotated

import typer

from rlm_graph.cli import flags as given


@given.expanded
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
    no_ignore: given.NoIgnore = False,
    wait: given.Wait = False,
    *,
    models: given.Models,
    allowed: given.Allowed,
    ceilings: given.Ceilings,
    place: given.Place,
    shown: given.Shown,
) -> None:
    """Ask a run that has answered another question.

    It finds the variables and the conversation as the run left them; what -c names joins its contexts. The ceilings are
    the run's, counted anew; flags change them.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.asking import check_question, take
    from rlm_graph.cli.piped import with_piped
    from rlm_graph.cli.trusting import load_settings

    question = check_question(question)
    output = shown.checked()
    changes = given.changes(models, ceilings, place, no_ignore=no_ignore, **allowed.changes())
    settings = load_settings(changes, config=place.config)
    given.check_database(place.db, settings)
    ceilings.remark_on_caps(settings)
    sources = with_piped(context or [])
    with session.opened(settings) as opened:
        reference = take(sources, settings, output)
        code = opened.carry_out(
            lambda watch: opened.service.ask(run, question, reference, changes, watch=watch),
            output,
            changes=changes,
            wait=wait,
        )
    raise typer.Exit(code)
