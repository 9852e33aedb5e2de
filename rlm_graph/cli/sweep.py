"""`rlm-graph sweep`: end the sandboxes that nobody needs."""

from __future__ import annotations

from typing import Annotated

import typer

from rlm_graph.cli import flags as given

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def sweep(
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="TIME", help="Also end those that nobody has used for so long: 90s, 15m, 2h, 1d."
        ),
    ] = "15m",
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """End the sandboxes whose process has ended or that nobody uses, on this machine, in Docker, and in E2B.

    E2B is asked where the settings name it as the executor.

    A run that is taken up later runs its cells again in a new one. One that is in use is left alone.
    """
    import asyncio

    from rlm_graph.cli.printing import put, put_json
    from rlm_graph.cli.ps import duration, runs_of, sandbox_row
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.executors.sandbox_owners import sandbox_owners
    from rlm_graph.executors.sandbox_owners import sweep as end

    seconds = _seconds(older_than)
    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt), config=config)
    ended = asyncio.run(end(sandbox_owners(settings.executor, *settings.agent_executors), older_than_s=seconds))
    runs = runs_of([sandbox.handle.id for sandbox in ended], settings)
    rows = [sandbox_row(sandbox, runs) for sandbox in ended]
    if as_json:
        put_json(rows)
        return
    lines = [f"{row['sandbox']}  {row['kind']}  {row['state']}, {duration(row['age_s'])} old" for row in rows]
    put("\n".join([*lines, f"{len(rows)} sandbox{'' if len(rows) == 1 else 'es'} ended"]))


def _seconds(text: str) -> float:
    """Read a time such as `15m`. Raises `InputError`."""
    from rlm_graph.errors import InputError

    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit():
        raise InputError(f"--older-than: {text!r} is no time; write it as 90s, 15m, 2h or 1d")
    return float(int(number) * _UNITS[unit])
