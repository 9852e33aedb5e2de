"""`rlm-graph doctor`: whether this machine can run rlm-graph, and what to do where it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rlm_graph.cli import flags as given
from rlm_graph.cli.hints import advised

if TYPE_CHECKING:
    from rlm_graph.models.local_servers import Program
    from rlm_graph.settings import Settings

_MODELS_SHOWN = 10
_PROBE_S = 10.0
"""Seconds that a program such as `docker` may take to answer."""
_KEYS = (
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY",
    "DEEPSEEK_API_KEY", "OPENROUTER_API_KEY", "XAI_API_KEY", "AZURE_API_KEY", "AWS_ACCESS_KEY_ID", "COHERE_API_KEY",
    "TOGETHERAI_API_KEY", "FIREWORKS_AI_API_KEY", "LLM_API_KEY",
)  # fmt: skip
"""The variables that providers' keys are commonly given in. Only whether they are set is ever looked at."""


@dataclass(frozen=True)
class Check:
    """What was found about one thing. `absent` is a thing that can be done without, `failed` one that cannot."""

    name: str
    state: Literal["ok", "absent", "failed"]
    detail: str


def doctor(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="Ask this model for a word as well; costs a few tokens."),
    ] = None,
    base_url: given.BaseUrl = None,
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """Check whether this machine can run rlm-graph.

    Looks at Python, the sandbox, Docker, Deno, E2B, executors of other packages, keys, servers of models
    on this machine (Ollama, LM Studio, llama.cpp, vLLM, at their usual ports), the data folder and the database, and
    with -m at a model.

    Ends with 3 if something that is needed does not work. No key's value is ever shown.
    """
    from rlm_graph.cli.exits import Exit
    from rlm_graph.cli.printing import put, put_json
    from rlm_graph.cli.trusting import load_settings

    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt, base_url=base_url), config=config)
    checks = list(_checks(settings, model))
    if as_json:
        put_json([asdict(check) for check in checks])
    else:
        width = max(len(check.name) for check in checks)
        put("\n".join(f"{check.state:6}  {check.name:{width}}  {check.detail}" for check in checks))
    raise typer.Exit(Exit.SETUP if any(check.state == "failed" for check in checks) else Exit.OK)


def _checks(settings: Settings, model: str | None) -> Iterator[Check]:
    yield _python()
    yield _sandbox()
    yield _program("docker", ["docker", "version", "--format", "{{.Server.Version}}"], "for the docker executor")
    yield _deno()
    yield _pyodide(settings)
    yield _e2b()
    yield from _packaged()
    yield _keys()
    yield from local_servers()
    yield _data_dir(settings)
    yield _database(settings)
    if model is not None:
        yield _heartbeat(model, settings)


def _python() -> Check:
    import platform
    import sys

    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _sandbox() -> Check:
    from rlm_graph.executors.sandbox.confinement.confine import probe

    found = probe()
    if found["missing"]:
        advice = "use another executor, or run with --unsafe-local where the code may have your rights"
        return Check("sandbox", "failed", f"this kernel lacks {'; '.join(found['missing'])}; {advice}")
    return Check("sandbox", "ok", f"Landlock ABI {found['landlock_abi']}, seccomp, no_new_privs on {found['arch']}")


def _program(name: str, command: list[str], purpose: str) -> Check:
    import shutil
    import subprocess

    if shutil.which(command[0]) is None:
        return Check(name, "absent", f"not on the PATH; needed only {purpose}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, "absent", f"does not answer: {error}; needed only {purpose}")
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())
        return Check(name, "absent", f"does not answer: {words}; needed only {purpose}")
    return Check(name, "ok", (done.stdout.splitlines() or [""])[0])


def _deno() -> Check:
    from rlm_graph.errors import SetupError
    from rlm_graph.executors.pyodide.image import deno

    try:
        return _program("deno", [deno(), "--version"], "for the pyodide executor")
    except SetupError as error:
        return Check("deno", "absent", f"{advised(error)}; needed only for the pyodide executor")


def _pyodide(settings: Settings) -> Check:
    """Tell whether its runtime is there, and what it cannot do, for it alone of our executors has that to declare."""
    from rlm_graph.errors import SetupError
    from rlm_graph.executors.pyodide.executor import DECLARED
    from rlm_graph.executors.pyodide.runtime import installed
    from rlm_graph.settings import PyodideSettings
    from rlm_graph.storage.data_folder import DataFolder

    store = settings.executor.store if isinstance(settings.executor, PyodideSettings) else None
    declared = f"what it cannot show: {'; '.join(dict.fromkeys(DECLARED.values()))}"
    try:
        installed(store or DataFolder(settings.data_dir).pyodide)
    except SetupError as error:
        return Check("pyodide", "absent", f"{advised(error)}; needed only for the pyodide executor, {declared}")
    return Check("pyodide", "ok", f"its runtime is there; {declared}")


def _e2b() -> Check:
    import os
    from importlib.util import find_spec

    if find_spec("e2b") is None:
        return Check("e2b", "absent", "its SDK is not installed: pip install 'rlm-graph[e2b]'; needed only for e2b")
    if not os.environ.get("E2B_API_KEY"):
        return Check("e2b", "absent", "E2B_API_KEY is not set; needed only for the e2b executor")
    return Check("e2b", "ok", "its SDK is installed, E2B_API_KEY is set")


def _packaged() -> Iterator[Check]:
    """Tell of the executors that other packages bring."""
    from rlm_graph.errors import SetupError
    from rlm_graph.settings.plugins import installed_plugins, package, settings_of

    for point in installed_plugins():
        try:
            settings_of(point.name)
        except SetupError as error:
            yield Check(f"executor {point.name}", "absent", advised(error))
        else:
            yield Check(f"executor {point.name}", "ok", f"of {package(point)}")


def _keys() -> Check:
    import os

    present = [name for name in _KEYS if os.environ.get(name)]
    servers = [name for name in ("LLM_BASE_URL", "OPENAI_BASE_URL") if os.environ.get(name)]
    if not present and not servers:
        return Check("keys", "absent", "none set; hosted models need one, such as OPENAI_API_KEY")
    return Check("keys", "ok", f"set: {', '.join(present + servers)}")


def local_servers(programs: Sequence[Program] | None = None) -> Iterator[Check]:
    """Tell which servers of models answer on this machine, and how a run names their models."""
    import asyncio

    from rlm_graph.cli.local_models import flags
    from rlm_graph.models.local_servers import PROGRAMS, find_servers

    programs = PROGRAMS if programs is None else programs
    found = asyncio.run(find_servers(programs))
    for server in found:
        shown = [flags(server, name) for name in server.models[:_MODELS_SHOWN]]
        more = len(server.models) - len(shown)
        models = "; ".join([*shown, *([f"and {more} more"] if more > 0 else [])]) or "it has no model yet"
        yield Check("local models", "ok", f"{server.program.name}, port {server.program.port}: {models}")
    if not found:
        looked = ", ".join(f"{program.name} ({program.port})" for program in programs)
        yield Check("local models", "absent", f"no server answers on this machine; looked for {looked}")


def _data_dir(settings: Settings) -> Check:
    import shutil
    import tempfile

    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        advice = "set RLM_DATA_DIR to a folder that you may write"
        return Check("data folder", "failed", f"{folder} cannot be written: {error.strerror}; {advice}")
    return Check("data folder", "ok", f"{folder}, {shutil.disk_usage(folder).free / 1e9:,.1f} GB free")


def _database(settings: Settings) -> Check:
    from rlm_graph.cli import session
    from rlm_graph.cli.printing import counted
    from rlm_graph.errors import SetupError, StorageError

    try:
        with session.opened(settings) as opened:
            return Check("database", "ok", f"{settings.db}, {counted(opened.call(opened.service.check()), 'run')}")
    except (SetupError, StorageError) as error:
        return Check("database", "failed", advised(error))


def _heartbeat(model: str, settings: Settings) -> Check:
    import asyncio
    import time

    from langchain_core.messages import HumanMessage

    from rlm_graph.cli.printing import cost
    from rlm_graph.errors import ModelError, SetupError
    from rlm_graph.models import ask, chat_model, check_model

    try:
        check_model(model, settings.models)
        started = time.monotonic()
        asked = ask(chat_model(model, settings.models), [HumanMessage("Answer with one word: ok")])
        usage = asyncio.run(asked).usage
    except (SetupError, ModelError) as error:
        return Check(f"model {model}", "failed", advised(error))
    return Check(f"model {model}", "ok", f"answered in {time.monotonic() - started:.1f} s, {cost(usage)}")
