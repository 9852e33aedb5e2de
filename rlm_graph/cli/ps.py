"""`rlm-graph ps`: what is under way, and the sandboxes that there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlm_graph.cli import flags as given

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rlm_graph.executors.host.sandboxes import Sandbox
    from rlm_graph.settings import Settings


def ps(
    sandboxes: Annotated[
        bool, typer.Option("--sandboxes", help="List sandboxes: processes of this machine, containers, and E2B's.")
    ] = False,
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """List the runs that are under way, or the sandboxes that there are.

    Of a sandbox: its run, its age, and whether a process uses it (attached), none does (idle), the one that did has
    ended (orphaned), or it does not work any more (dead). `rlm-graph sweep` ends those that nobody needs. E2B is asked
    where the settings name it as the executor.
    """
    import asyncio

    from rlm_graph.cli.trusting import load_settings

    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt), config=config)
    if sandboxes:
        from rlm_graph.executors.sandbox_owners import find, sandbox_owners

        found = [
            sandbox for _, sandbox in asyncio.run(find(sandbox_owners(settings.executor, *settings.agent_executors)))
        ]
        runs = runs_of([sandbox.handle.id for sandbox in found], settings)
        _show([sandbox_row(sandbox, runs) for sandbox in found], "no sandboxes", as_json=as_json)
    else:
        _show(_under_way(settings), "no run is under way", as_json=as_json)


def sandbox_row(sandbox: Sandbox, runs: dict[str, str]) -> dict[str, Any]:
    """Return what is shown of a sandbox. `runs` holds the names of runs by their REPL's."""
    return {
        "sandbox": sandbox.handle.id,
        "kind": sandbox.handle.kind,
        "run": runs.get(sandbox.handle.id, ""),
        "state": sandbox.state,
        "age_s": round(time.time() - sandbox.created),
        "idle_s": None if sandbox.idle_s is None else round(sandbox.idle_s),
        "host": sandbox.owner,
    }


def runs_of(repls: Sequence[str], settings: Settings) -> dict[str, str]:
    """Return the runs that use these REPLs, by the REPLs' names."""
    from rlm_graph.cli import session

    if not repls or not _is_there(settings.db):
        return {}
    with session.opened(settings) as opened:
        return opened.call(opened.service.users_of(repls))


def _under_way(settings: Settings) -> list[dict[str, Any]]:
    from rlm_graph.cli import session

    if not _is_there(settings.db):
        return []
    with session.opened(settings) as opened:
        listed = opened.call(opened.service.list(status="running", limit=None))
    return [
        {"run": run.id, "age_s": round(time.time() - run.created), "model": run.model, "question": run.question}
        for run in listed.runs
    ]


def _is_there(db: Path | str) -> bool:
    return isinstance(db, str) or db.exists()


def _show(rows: list[dict[str, Any]], nothing: str, *, as_json: bool) -> None:
    from rlm_graph.cli.printing import put, put_json

    if as_json:
        put_json(rows)
        return
    if not rows:
        put(nothing)
        return
    titles = [key.removesuffix("_s") for key in rows[0]]
    cells = [[_text(key, value) for key, value in row.items()] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    put("\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in (titles, *cells)))


def _text(key: str, value: Any) -> str:
    if key.endswith("_s"):
        return "" if value is None else duration(value)
    return " ".join(str(value).split()) or "-"


def duration(seconds: float) -> str:
    """Return a time in its two largest units, such as `2h05m`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
