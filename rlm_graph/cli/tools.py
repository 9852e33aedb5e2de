"""`rlm-graph tools`: the tools that a run can be given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlm_graph.cli import flags as given
from rlm_graph.cli.exits import Exit
from rlm_graph.cli.printing import put, put_json

if TYPE_CHECKING:
    from rlm_graph.tools.registry import ToolStatus


def tools(
    check: Annotated[
        bool, typer.Option("--check", help="Test each: its name, schema and description, and its own examples.")
    ] = False,
    as_json: given.AsJson = False,
    config: given.Config = None,
) -> None:
    """List the tools that there are: built in, offered by installed packages, and of configured MCP servers.

    `run --tool NAME` gives one to a run; `tools.use` in the settings gives them to all.
    """
    from rlm_graph.cli.standard_streams import others_print_to_stderr
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.tools.registry import tool_statuses

    settings = load_settings(config=config)
    with others_print_to_stderr():
        rows = tool_statuses(settings.tools, check=check)
    if as_json:
        put_json([_as_dict(row, check=check) for row in rows])
    else:
        put("\n".join(line for row in rows for line in _lines(row, check=check)))
    if check and any(row.problems for row in rows):
        raise typer.Exit(Exit.FAILED)


def _as_dict(row: ToolStatus, *, check: bool) -> dict[str, Any]:
    function = row.function
    return {
        "name": row.name,
        "source": row.source,
        "version": row.version,
        "used": row.used,
        "signature": function.signature if function else None,
        "description": function.description if function else None,
        "schema": function.schema if function else None,
        "problems": list(row.problems) if check or row.problems else None,
    }


def _lines(row: ToolStatus, *, check: bool) -> list[str]:
    function = row.function
    told = [row.source, row.version, "in use" if row.used else "", "ok" if check and not row.problems else ""]
    lines = [f"{row.name}  ({', '.join(word for word in told if word)})"]
    if function is not None:
        first = next(iter(function.description.splitlines()), "")
        lines += [f"    {function.signature}", *([f"    {first}"] if first else [])]
    return lines + [f"    ! {' '.join(problem.split())}" for problem in row.problems]
