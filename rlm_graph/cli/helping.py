"""Commands and groups of commands whose help is printed as all results are: in one line of words where it cannot be."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from rlm_graph.cli.printing import put


class _Helps:
    """Prints its help by `put`, so that a full disk is an error in one line, and a reader who has left is none."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]  # of a command
        if option is not None:
            option.callback = _show
        return option


class Command(_Helps, TyperCommand):
    """A command."""


class Group(_Helps, TyperGroup):
    """A group of commands."""


def _show(ctx: Any, option: Any, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        put(ctx.get_help(), exact=True)
        ctx.exit()
