"""Options that several commands take, each with its help text, and the settings that they stand for."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from rlm_graph.cli.output import Output
    from rlm_graph.runs.job import Policy
    from rlm_graph.settings import Settings


def _ceiling(*flags: str, metavar: str, help: str, default: str) -> Any:
    # Text, not a number: the settings read `none` (no ceiling) and numbers alike, whatever place they come from. The
    # default is written out, for help imports no settings; a test holds it against them.
    return typer.Option(*flags, metavar=metavar, help=f"Ceiling, or none: {help} By default {default}.")


Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        "-c",
        metavar="PATH|URL|-",
        help="Long input: a file, a folder, the URL of a file, or - for standard input. Several may follow.",
    ),
]
NoIgnore = Annotated[
    bool,
    typer.Option(
        "--no-ignore", help="Of folders, take what .gitignore names, and builds, environments and caches too."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Root model, such as openai/gpt-5 or ollama/qwen3:8b; by default `model` in the settings.",
    ),
]
SubModel = Annotated[
    str | None, typer.Option("--sub-model", metavar="NAME", help="Model that the code asks; by default the root model.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="OpenAI-compatible server that serves the models, such as http://localhost:8000/v1.",
    ),
]
Tools = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        metavar="NAME",
        help="Tool that code may call, of those that `rlm-graph tools` lists. Give several for several.",
    ),
]
UnsafeLocal = Annotated[
    bool,
    typer.Option(
        "--unsafe-local",
        help="Run the model's code on this machine with your own rights, if the kernel cannot confine it.",
    ),
]
Memory = Annotated[
    bool | None,
    typer.Option(
        "--memory/--no-memory",
        help="Let code read and write notes that outlive the run; `rlm-graph memory` shows them. By default off.",
        show_default=False,
    ),
]
MaxTurns = Annotated[str | None, _ceiling("--max-turns", metavar="N", help="Replies of the root model.", default="10")]
MaxCost = Annotated[
    str | None, _ceiling("--max-cost", metavar="USD", help="US dollars, sub-calls included.", default="2")
]
MaxTokens = Annotated[
    str | None,
    _ceiling("--max-tokens", metavar="N", help="Input and output tokens, sub-calls included.", default="none"),
]
Timeout = Annotated[
    str | None, _ceiling("--timeout", metavar="SECONDS", help="Seconds of work, over all resumes.", default="300")
]
MaxSubcalls = Annotated[
    str | None,
    _ceiling(
        "--max-subcalls", "--max-sub-calls", metavar="N", help="Calls that the code makes to a model.", default="none"
    ),
]
SubCalls = Annotated[
    bool | None,
    typer.Option(
        "--sub-calls/--no-sub-calls", help="Let code ask models, or not. By default it may.", show_default=False
    ),
]
AllowUnpriced = Annotated[
    bool, typer.Option("--allow-unpriced", help="Call models of unknown price even under --max-cost.")
]
Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="FILE|URL",
        help="Database of runs: a file, or postgresql://user@host/name; by default runs.sqlite in the data folder.",
    ),
]
Encrypt = Annotated[
    bool, typer.Option("--encrypt", help="The database is encrypted, or is to be; the key is in LANGGRAPH_AES_KEY.")
]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings file, instead of ./rlm.toml.")]
Thread = Annotated[
    str | None, typer.Option("--thread", metavar="ID", help="Name of the new run, instead of a made-up one.")
]
Wait = Annotated[bool, typer.Option("--wait", help="If another process is at work on the run, wait until it is done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
OutputFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the answer to FILE, exactly as it is, not to stdout."),
]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream", help="Show what the model writes and its code does as it comes; with --json, as JSON lines."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the code and its output on stderr.")]


@dataclass(frozen=True)
class Models:
    """Which models a run asks, and where."""

    model: Model = None
    sub_model: SubModel = None
    base_url: BaseUrl = None


@dataclass(frozen=True)
class Ceilings:
    """The ceilings of a run."""

    max_turns: MaxTurns = None
    max_cost: MaxCost = None
    max_tokens: MaxTokens = None
    timeout: Timeout = None
    max_subcalls: MaxSubcalls = None
    sub_calls: SubCalls = None
    allow_unpriced: AllowUnpriced = False

    def budget(self) -> dict[str, Any]:
        """Return the part of `budget` that was given. Raises `InputError` if two of them exclude each other."""
        from rlm_graph.errors import InputError

        max_subcalls = self.max_subcalls
        if self.sub_calls is not None:
            if max_subcalls is not None:
                raise InputError("--max-subcalls and --sub-calls/--no-sub-calls exclude each other: give one of them")
            max_subcalls = "none" if self.sub_calls else "0"
        for flag, text, whole in (
            ("--max-turns", self.max_turns, True),
            ("--max-cost", self.max_cost, False),
            ("--max-tokens", self.max_tokens, True),
            ("--timeout", self.timeout, False),
            ("--max-subcalls", self.max_subcalls, True),
        ):
            _check_ceiling(flag, text, whole=whole, least=0 if flag == "--max-subcalls" else 1)
        given: dict[str, Any] = {
            "max_turns": self.max_turns,
            "max_cost_usd": self.max_cost,
            "max_tokens": self.max_tokens,
            "timeout_s": self.timeout,
            "max_subcalls": max_subcalls,
            "allow_unpriced": self.allow_unpriced or None,
        }
        return {key: value for key, value in given.items() if value is not None}

    def remark_on_caps(self, settings: Settings) -> None:
        """Say of each ceiling that was lifted by `none` how far its cap lets it go all the same."""
        from rlm_graph.cli.printing import remark

        for name, value in self.budget().items():
            cap = getattr(settings.caps, name, None)
            if str(value).lower() == "none" and cap is not None:
                remark(
                    f"note: {name}: none lifts it up to the cap of {cap:,g} that holds here; "
                    f"caps.{name} (RLM_CAPS__{name.upper()}=none) raises that"
                )


def _check_ceiling(flag: str, text: str | None, *, whole: bool, least: int) -> None:
    """Raise `InputError` for a ceiling that is no number."""
    from math import isfinite

    from rlm_graph.errors import InputError

    if text is None or text.lower() == "none":
        return
    try:
        number = int(text) if whole else float(text)
        if isfinite(number) and (number >= least or (number > 0 and not whole)):
            return
    except ValueError:
        pass
    if whole:
        raise InputError(f"{flag} {text}: give a whole number from {least} on, or none")
    raise InputError(f"{flag} {text}: give a number above 0, such as 0.50 or 120, or none")


def number(flag: str, text: str | None, wanted: str, *, least: int | None = None) -> int | None:
    """Return the number that was given. Raises `InputError`, which says what is `wanted`, if it is none."""
    from rlm_graph.errors import InputError

    if text is None:
        return None
    try:
        found = int(text)
    except ValueError:
        found = None
    if found is None or (least is not None and found < least):
        raise InputError(f"{flag} {text}: give {wanted}")
    return found


@dataclass(frozen=True)
class Place:
    """Where runs lie, and where the settings do."""

    db: Database = None
    encrypt: Encrypt = False
    config: Config = None


def check_database(db: str | None, settings: Settings) -> None:
    """Raise `InputError` if `--db` names a file that is not there: to look for runs makes none."""
    from rlm_graph.errors import InputError

    if db is not None and isinstance(settings.db, Path) and not settings.db.exists():
        raise InputError(f"--db {db}: there is no such file; name one that holds runs, or leave --db out")


@dataclass(frozen=True)
class Allowed:
    """What a run that is taken up may have again: what its record says of that does not count by itself."""

    tool: Tools = None
    unsafe_local: UnsafeLocal = False

    def changes(self) -> dict[str, Any]:
        """Return it as `settings_flags` takes it."""
        return {"tools": self.tool, "executor": {"kind": "local", "unsafe": True} if self.unsafe_local else None}


@dataclass(frozen=True)
class Shown:
    """What the user wants to see of a run, and where."""

    as_json: AsJson = False
    output: OutputFile = None
    stream: Stream = False
    quiet: Quiet = False
    verbose: Verbose = False

    def checked(self) -> Output:
        """Return it. Raises `InputError` if the answer could not be written in the end."""
        from rlm_graph.cli.output import Output
        from rlm_graph.cli.printing import manner

        manner.quiet, manner.json_lines = self.quiet, self.stream and self.as_json
        output = Output(json=self.as_json, file=self.output, stream=self.stream, quiet=self.quiet, verbose=self.verbose)
        output.check()
        return output


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the fields of its option groups as options of its own, each group where it stands.

    A group is a parameter whose type is a dataclass of this module, such as `place: Place`.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        annotations = get_type_hints(groups[name], include_extras=True)
        parameters += [
            parameter.replace(name=field.name, default=field.default, annotation=annotations[field.name])
            for field in dataclasses.fields(groups[name])
        ]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        command(**given)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def policy(approve: str | None) -> Policy | None:
    """Return what waits for approval. Raises `InputError` if there is no such policy."""
    from rlm_graph.errors import InputError

    match approve:
        case None | "code" | "subcalls":
            return approve
    raise InputError(f"--approve {approve}: give code, or subcalls")


def changes(models: Models, ceilings: Ceilings, place: Place, **others: Any) -> dict[str, Any]:
    """Return the settings that were given as these groups of options, and `others` as `settings_flags` takes them."""
    return settings_flags(
        model=models.model,
        sub_model=models.sub_model,
        base_url=models.base_url,
        db=place.db,
        encrypt=place.encrypt,
        budget=ceilings.budget(),
        **others,
    )


def settings_flags(
    *,
    model: str | None = None,
    sub_model: str | None = None,
    base_url: str | None = None,
    db: str | None = None,
    encrypt: bool = False,
    executor: dict[str, Any] | None = None,
    budget: dict[str, Any] | None = None,
    tools: list[str] | None = None,
    protocol: str | None = None,
    memory: bool | None = None,
    no_ignore: bool = False,
) -> dict[str, Any]:
    """Return the settings that were given as flags, nested as the settings are.

    Raises `InputError` for a name whose bytes are no UTF-8: no provider and no server has such a name.
    """
    from rlm_graph.errors import InputError
    from rlm_graph.surrogates import has_surrogates

    for flag, name in (("-m", model), ("--sub-model", sub_model), ("--base-url", base_url), ("--protocol", protocol)):
        if name is not None and has_surrogates(name):
            raise InputError(f"{flag} {name}: is not text in UTF-8")
    given: dict[str, Any] = {
        "model": model,
        "sub_model": sub_model,
        "models": None if base_url is None else {"base_url": base_url},
        "db": db,
        "encrypt": encrypt or None,
        "executor": executor or None,
        "budget": budget or None,
        "tools": {"use": tools} if tools else None,
        "protocol": protocol,
        "memory": None if memory is None else {"enabled": memory},
        "contexts": {"ignore": False} if no_ignore else None,
    }
    return {key: value for key, value in given.items() if value is not None}
