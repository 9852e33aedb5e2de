"""What can be set of each executor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PositiveFloat, PositiveInt, SerializeAsAny, Tag

from rlm_graph.settings.marks import Guarded, Harmless, only
from rlm_graph.settings.plugins import BUILT_IN, PluginExecutorSettings
from rlm_graph.value import Value

PinnedPackage = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*$")
]
"""A package for pip, with the version that it must have: `pandas==2.3.3`."""


class LocalSettings(Value):
    """A confined CPython process on this machine."""

    kind: Harmless[Literal["local"]] = "local"
    unsafe: Annotated[bool, only(False)] = False
    """Run even where the kernel cannot confine the process. The code then has the user's own rights."""
    memory_bytes: Harmless[PositiveInt] = 4 << 30
    """Address space of the worker, beyond the size of the contexts."""
    max_file_bytes: Harmless[PositiveInt] = 256 << 20
    """The largest file that code may write to its scratch folder."""
    max_threads: Harmless[PositiveInt] = 64
    cell_timeout_s: Harmless[PositiveFloat] = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: Harmless[PositiveInt] = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""
    idle_timeout_s: Harmless[PositiveFloat] = 900.0
    """Seconds without a host after which a REPL ends itself."""


class DockerSettings(Value):
    """A container for each REPL, on this machine's Docker daemon or another's."""

    kind: Guarded[Literal["docker"]] = "docker"
    image: Guarded[str] = Field(default="python:3.12-slim", pattern=r"^[a-z0-9][\w./:@-]*$")
    """Any image that has `python3`, 3.9 or later."""
    packages: Guarded[tuple[PinnedPackage, ...]] = ()
    """Packages to bake into an image of your own, each as `name==version`; built once, before a run."""
    pull: Guarded[bool] = True
    """Fetch the image if the daemon does not have it."""
    host: Guarded[str | None] = None
    """Address of the daemon; by default `DOCKER_HOST`, or the context that the docker command uses."""
    network: Guarded[str | None] = None
    """A network of Docker's that code may use, such as `bridge`; by default none."""
    bash: Annotated[bool, only(False)] = False
    """Run cells that are written for the shell, and let code start programs."""
    cpus: Harmless[PositiveFloat] = 1.0
    """Processors that the container may use at once."""
    memory_bytes: Harmless[Annotated[int, Field(ge=64 << 20)]] = 4 << 30
    """Memory of the container, with contexts and scratch files; it has no swap."""
    pids: Harmless[Annotated[int, Field(ge=8)]] = 128
    """Processes and threads in the container."""
    scratch_bytes: Harmless[PositiveInt] = 256 << 20
    """Size of the scratch folder, which lies in memory. Code can write nowhere else."""
    cell_timeout_s: Harmless[PositiveFloat] = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: Harmless[PositiveInt] = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""
    idle_timeout_s: Harmless[PositiveFloat] = 900.0
    """Seconds without a host after which a REPL ends itself."""


class PyodideSettings(Value):
    """Python in WebAssembly, run by Deno on this machine."""

    kind: Harmless[Literal["pyodide"]] = "pyodide"
    unsafe: Annotated[bool, only(False)] = False
    """Run even where the kernel cannot confine the process. WebAssembly and Deno then hold the code alone."""
    store: Guarded[Path | None] = None
    """Where the runtime is kept; by default `pyodide` in the data folder."""
    memory_bytes: Harmless[Annotated[int, Field(ge=128 << 20, le=4 << 30)]] = 2 << 30
    """Memory of the code, contexts included."""
    max_file_bytes: Harmless[PositiveInt] = 256 << 20
    """Of all files that code writes. They lie in memory, besides `memory_bytes`."""
    cell_timeout_s: Harmless[PositiveFloat] = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: Harmless[PositiveInt] = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""
    idle_timeout_s: Harmless[PositiveFloat] = 900.0
    """Seconds without a host after which a REPL ends itself."""


class E2BSettings(Value):
    """A sandbox for each REPL in E2B's cloud, or on a server that speaks like it. The key comes from `E2B_API_KEY`."""

    kind: Guarded[Literal["e2b"]] = "e2b"
    template: Guarded[str] = Field(default="base", pattern=r"^[A-Za-z0-9][\w./:-]*$")
    """Any template that has `python3`, 3.9 or later, by its name or id."""
    timeout_s: Harmless[PositiveInt] = 3600
    """Seconds that a sandbox may run after a host has come to it; each plan of E2B has a ceiling of its own."""
    idle_timeout_s: Harmless[PositiveInt] = 300
    """Seconds without a host after which a sandbox no longer runs."""
    pause: Harmless[bool] = True
    """Keep a sandbox that no longer runs, with its memory, until a host comes back to it. Else it is gone."""
    metadata: Guarded[dict[str, str]] = Field(default_factory=dict)
    """What sandboxes are marked with, besides our own marks."""
    allow_internet: Annotated[bool, only(False)] = False
    """Let code use the network."""
    bash: Annotated[bool, only(False)] = False
    """Run cells that are written for the shell, and let code start programs."""
    memory_bytes: Harmless[PositiveInt | None] = None
    """Memory of the code, beyond the size of the contexts; by default seven eighths of what the sandbox has."""
    domain: Guarded[str | None] = Field(default=None, pattern=r"^[A-Za-z0-9.-]+$")
    """Where the service is, if not at e2b.app; `E2B_DOMAIN` sets it too."""
    api_url: Guarded[str | None] = Field(default=None, pattern=r"^https?://[^@\s]+$")
    """Address of the API, where the domain does not tell."""
    sandbox_url: Guarded[str | None] = Field(default=None, pattern=r"^https?://[^@\s]+$")
    """Address of all sandboxes, where the domain does not tell."""
    cell_timeout_s: Harmless[PositiveFloat] = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: Harmless[PositiveInt] = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""


ExecutorSettings = LocalSettings | DockerSettings | PyodideSettings | E2BSettings | PluginExecutorSettings
"""The union of all executors' settings, told apart by `kind`."""

PLUGIN = "packaged"
"""The member of the union that stands for the kinds that packages bring."""

_Executor = (
    Annotated[LocalSettings, Tag("local")]
    | Annotated[DockerSettings, Tag("docker")]
    | Annotated[PyodideSettings, Tag("pyodide")]
    | Annotated[E2BSettings, Tag("e2b")]
    | Annotated[SerializeAsAny[PluginExecutorSettings], Tag(PLUGIN)]
)


def _by_kind(executor: Any) -> Any:
    if isinstance(executor, str):
        return {"kind": executor}
    return {"kind": "local", **executor} if isinstance(executor, Mapping) else executor


def _member(executor: Any) -> str:
    kind = executor.get("kind") if isinstance(executor, Mapping) else getattr(executor, "kind", None)
    return kind if kind in BUILT_IN else PLUGIN


AnyExecutor = Annotated[_Executor, Discriminator(_member), BeforeValidator(_by_kind)]
"""A field of settings that names an executor: its kind, or a table that has one; `local` where it has none."""
