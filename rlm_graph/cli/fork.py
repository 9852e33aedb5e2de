"""`rlm-graph fork`: a new run that begins where another one stood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlm_graph.cli import flags as given

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rlm_graph.runs.live import LiveRun, Watch


@given.expanded
def fork(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run's id, or how it starts; the date may be left out.", show_default=False
        ),
    ],
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TURN", help="After this turn; 0: before the first; by default at the end.  [x>=0]"
        ),
    ] = None,
    question: Annotated[
        str | None, typer.Option("--question", metavar="TEXT", help="Ask this, instead of going on with the question.")
    ] = None,
    thread: given.Thread = None,
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
    """Begin a new run where another one stood after a turn, and go on from there.

    The new run has the variables and the conversation of that moment, and asks nothing again that was answered before
    it. The other run stays as it is. `rlm-graph logs RUN` shows the numbers of its turns.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.asking import check_question, take
    from rlm_graph.cli.piped import with_piped
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.errors import InputError
    from rlm_graph.storage.runs import check_name

    turns = f"the number of a turn, from 0 (before the first) on; `rlm-graph logs {run}` shows them"
    turn = given.number("--at", at, turns, least=0)
    if question is not None:
        question = check_question(question)
    elif context:
        raise InputError("-c goes with --question: only a new question looks at a new context")
    if thread is not None:
        check_name(thread)
    output = shown.checked()
    changes = given.changes(models, ceilings, place, no_ignore=no_ignore, **allowed.changes())
    settings = load_settings(changes, config=place.config)
    given.check_database(place.db, settings)
    ceilings.remark_on_caps(settings)
    sources = [] if question is None else with_piped(context or [])
    with session.opened(settings) as opened:
        reference = take(sources, settings, output)

        def begin(watch: Watch) -> Awaitable[LiveRun]:
            return opened.service.fork(
                run, at=turn, text=question, context=reference, changes=changes, id=thread, watch=watch
            )

        def entered(live: LiveRun) -> None:
            forked: Any = live.run.settings["forked"]
            output.say(f"run {live.run.id}: a fork of {forked['run']} after turn {forked['turn']}")

        code = opened.carry_out(begin, output, changes=changes, wait=wait, entered=entered)
    raise typer.Exit(code)
