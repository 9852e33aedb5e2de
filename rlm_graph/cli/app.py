"""The commands and what they have in common: errors in one line, exit codes, the version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from rlm_graph.cli.arguments import WithContexts
from rlm_graph.cli.ask import ask
from rlm_graph.cli.config import show
from rlm_graph.cli.docker import build
from rlm_graph.cli.doctor import doctor
from rlm_graph.cli.du import du
from rlm_graph.cli.examples import epilog
from rlm_graph.cli.exits import Exit, exit_code, is_interrupt
from rlm_graph.cli.fork import fork
from rlm_graph.cli.helping import Command, Group
from rlm_graph.cli.hints import advised
from rlm_graph.cli.init import init
from rlm_graph.cli.logs import logs
from rlm_graph.cli.memory import clear, list_notes
from rlm_graph.cli.memory import rm as rm_note
from rlm_graph.cli.memory import show as show_note
from rlm_graph.cli.printing import manner, put, say
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


class Commands(Group):
    """Ends an `RLMError` in one line and an exit code. Anything else keeps its traceback: it is our mistake."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # where `--version` prints
        manner.reset()
        with _in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Say what is wrong in one line, and leave with its exit code."""
    try:
        yield
    except RLMError as error:
        say(f"error: {advised(error)}")
        raise typer.Exit(exit_code(error)) from error
    except BaseException as error:
        if not is_interrupt(error):
            raise
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
_GROUP: dict[str, Any] = {"cls": Group, **_PLAIN}
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, epilog=EPILOG, context_settings=_CONTEXT, **_PLAIN)
app.callback()(_root)


def _add(
    group: typer.Typer, path: str, command: Callable[..., None], *, contexts: bool = False, short: str = ""
) -> None:
    """Add a command with its examples; in the list of commands stands the whole first sentence of its docstring."""
    summary = short or " ".join((command.__doc__ or "").partition("\n\n")[0].split())
    kind = WithContexts if contexts else Command
    group.command(path.split()[-1], short_help=summary, epilog=epilog(path), cls=kind)(command)


_add(app, "run", run, contexts=True)
_add(app, "agent", run, contexts=True, short="Another word for `run`.")
_add(app, "resume", resume)
_add(app, "ask", ask, contexts=True)
_add(app, "fork", fork, contexts=True)
for _command in (logs, rm, du, ps, sweep, tools, trust, init, doctor):
    _add(app, _command.__name__, _command)

config = typer.Typer(help="Show the settings and where each came from.", **_GROUP)
config.callback()(lambda: None)
_add(config, "config show", show)
app.add_typer(config, name="config")

memory = typer.Typer(help="Show and erase what runs have remembered.", **_GROUP)
memory.callback()(lambda: None)
_add(memory, "memory list", list_notes)
_add(memory, "memory show", show_note)
_add(memory, "memory rm", rm_note)
_add(memory, "memory clear", clear)
app.add_typer(memory, name="memory")

docker = typer.Typer(help="Prepare images for the docker executor.", **_GROUP)
docker.callback()(lambda: None)
_add(docker, "docker build", build)
app.add_typer(docker, name="docker")

pyodide = typer.Typer(help="Fetch the runtime of the pyodide executor.", **_GROUP)
pyodide.callback()(lambda: None)
_add(pyodide, "pyodide fetch", fetch)
app.add_typer(pyodide, name="pyodide")
