"""The command `rlm-graph`: one module a subcommand, and everything heavy imported only once it is needed."""

from __future__ import annotations

import gc
import sys
import warnings

OBJECTS = 50_000
"""New objects after which Python looks for garbage. With its own 700 it looks hundreds of times while modules load."""


def main() -> None:
    """Run the command that the process was started with, and leave with its exit code."""
    gc.set_threshold(OBJECTS)
    try:
        from rlm_graph.cli.standard_streams import leave, make_lasting

        make_lasting()
        if not sys.warnoptions:  # which PYTHONWARNINGS and -W fill
            warnings.simplefilter("ignore")  # of libraries: users can do nothing about them
        from rlm_graph.langgraph_internals import read_strictly

        read_strictly()
        # What LangGraph imports of httpx brings httpx's own command, and with it rich and pygments, unless that is not
        # to be had: httpx does without.
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # so Python says that there is none
        from rlm_graph.cli.screen import guard

        guard()
        from rlm_graph.cli.app import app

        try:
            app(prog_name="rlm-graph")
        except SystemExit as leaving:
            leave(leaving.code)
    except BaseException as error:  # before or after the command itself, which sees to its own
        if isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt):  # as `is_interrupt`
            raise SystemExit(130) from None
        raise
