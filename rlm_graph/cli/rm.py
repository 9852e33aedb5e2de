"""`rlm-graph rm`: delete runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rlm_graph.cli import flags as given
from rlm_graph.cli.printing import confirm, counted, say, waiting

if TYPE_CHECKING:
    from rlm_graph.storage.runs import Run


def rm(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Ids of runs, or how they start.", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether that is meant.")] = False,
    wait: given.Wait = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """Delete runs for good.

    With a run go its checkpoints, those of all that it called, its REPL with the sandbox, and its contexts, unless
    another run refers to them. A run that a process is at work on is not deleted.
    """
    from rlm_graph.cli import session
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.runs.live import Watch

    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt), config=config)
    given.check_database(db, settings)
    watch = Watch(waiting=waiting if wait else None)
    with session.opened(settings) as opened:
        # All are looked up before the first is deleted: a mistyped id deletes nothing.
        found = {run.id: run for run in [opened.call(opened.service.get(name)) for name in runs]}
        _confirm(list(found.values()), yes)
        for run in found.values():
            for words in opened.call(opened.service.delete(run.id, watch=watch)):
                say(f"{run.id}: {words}")
            say(f"deleted {run.id}")


def _confirm(runs: list[Run], yes: bool) -> None:
    import sys

    from rlm_graph.errors import InputError

    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError("nobody is there to be asked; --yes deletes without asking")
    for run in runs:
        say(f"{run.id} · {run.status} · {' '.join(run.question.split())}")
    confirm(f"Delete {counted(len(runs), 'run')} for good?")
