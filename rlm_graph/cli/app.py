"""The commands and what they have in common: errors in one line, exit codes, the version."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rlm_graph.cli.ask import ask
from rlm_graph.cli.config import show
from rlm_graph.cli.docker import build
from rlm_graph.cli.doctor import doctor
from rlm_graph.cli.du import du
from rlm_graph.cli.exits import Exit, exit_code
from rlm_graph.cli.fork import fork
from rlm_graph.cli.hints import advised
from rlm_graph.cli.init import init
from rlm_graph.cli.logs import logs
from rlm_graph.cli.memory import clear, list_notes
from rlm_graph.cli.memory import rm as rm_note
from rlm_graph.cli.memory import show as show_note
from rlm_graph.cli.printing import put, say
from rlm_graph.cli.ps import ps
from rlm_graph.cli.pyodide import fetch
from rlm_graph.cli.resume import resume
from rlm_graph.cli.rm import rm
from rlm_graph.cli.run import run
from rlm_graph.cli.sweep import sweep
from rlm_graph.cli.tools import tools
from rlm_graph.cli.trust import trust
from rlm_graph.errors import RLMError

EPILOG = (
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration or credentials, 4 budget reached (the best answer so far is "
    "printed), 5 sandbox, 6 provider, 7 waits for approval, 130 interrupted."
)


class Commands(TyperGroup):
    """Ends an `RLMError` in one line and an exit code. Anything else keeps its traceback: it is our mistake."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RLMError as error:
            say(f"error: {advised(error)}")
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        put(f"rlm-graph {version('rlm-graph')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Answer questions over inputs far longer than a model's window.

    The input lies in a sandboxed Python REPL. The model looks into it with code, asks sub-models about its pieces, and
    every step is saved: a run that was stopped goes on where it stood.
    """


# Rich is left out of help texts and tracebacks: importing it costs more than all else that `--help` does.
_PLAIN: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": True}
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, epilog=EPILOG, context_settings=_CONTEXT, **_PLAIN)
app.callback()(_root)
for command in (run, resume, ask, fork, logs, rm, du, ps, sweep, tools, trust, init, doctor):
    app.command()(command)

config = typer.Typer(help="Show the settings and where each came from.", **_PLAIN)
config.callback()(lambda: None)
config.command()(show)
app.add_typer(config, name="config")

memory = typer.Typer(help="Show and erase what runs have remembered.", **_PLAIN)
memory.callback()(lambda: None)
memory.command("list")(list_notes)
memory.command("show")(show_note)
memory.command("rm")(rm_note)
memory.command()(clear)
app.add_typer(memory, name="memory")

docker = typer.Typer(help="Prepare images for the docker executor.", **_PLAIN)
docker.callback()(lambda: None)
docker.command()(build)
app.add_typer(docker, name="docker")

pyodide = typer.Typer(help="Fetch the runtime of the pyodide executor.", **_PLAIN)
pyodide.callback()(lambda: None)
pyodide.command()(fetch)
app.add_typer(pyodide, name="pyodide")
