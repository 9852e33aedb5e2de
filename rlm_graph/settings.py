"""What can be set, and what holds when nothing is set. Every default lives here or in `Budget`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    SerializeAsAny,
    Tag,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from rlm_graph.budget import Budget, Caps
from rlm_graph.kinds import BUILT_IN, PackagedSettings
from rlm_graph.value import Value

PinnedPackage = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*$")
]
"""A package for pip, with the version that it must have: `pandas==2.3.3`."""


DatabaseAddress = Annotated[str, Field(pattern=r"^postgres(ql)?://")]
"""Of a PostgreSQL server, in libpq's form."""


class LocalSettings(Value):
    """A confined CPython process on this machine."""

    kind: Literal["local"] = "local"
    unsafe: bool = False
    """Run even where the kernel cannot confine the process. The code then has the user's own rights."""
    memory_bytes: PositiveInt = 4 << 30
    """Address space of the worker, beyond the size of the contexts."""
    max_file_bytes: PositiveInt = 256 << 20
    """The largest file that code may write to its scratch folder."""
    max_threads: PositiveInt = 64
    cell_timeout_s: PositiveFloat = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: PositiveInt = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""
    idle_timeout_s: PositiveFloat = 900.0
    """Seconds without a host after which a REPL ends itself."""


class DockerSettings(Value):
    """A container for each REPL, on this machine's Docker daemon or another's."""

    kind: Literal["docker"] = "docker"
    image: str = Field("python:3.12-slim", pattern=r"^[a-z0-9][\w./:@-]*$")
    """Any image that has `python3`, 3.9 or later."""
    packages: tuple[PinnedPackage, ...] = ()
    """Packages to bake into an image of your own, each as `name==version`; `rlm-graph docker build` makes it."""
    pull: bool = True
    """Fetch the image if the daemon does not have it."""
    host: str | None = None
    """Address of the daemon; by default `DOCKER_HOST`, or the context that the docker command uses."""
    network: str | None = None
    """A network of Docker's that code may use, such as `bridge`; by default none."""
    bash: bool = False
    """Run cells that are written for the shell, and let code start programs."""
    cpus: PositiveFloat = 1.0
    """Processors that the container may use at once."""
    memory_bytes: Annotated[int, Field(ge=64 << 20)] = 4 << 30
    """Memory of the container, with contexts and scratch files; it has no swap."""
    pids: Annotated[int, Field(ge=8)] = 128
    """Processes and threads in the container."""
    scratch_bytes: PositiveInt = 256 << 20
    """Size of the scratch folder, which lies in memory. Code can write nowhere else."""
    cell_timeout_s: PositiveFloat = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: PositiveInt = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""
    idle_timeout_s: PositiveFloat = 900.0
    """Seconds without a host after which a REPL ends itself."""


class PyodideSettings(Value):
    """Python in WebAssembly, run by Deno on this machine."""

    kind: Literal["pyodide"] = "pyodide"
    unsafe: bool = False
    """Run even where the kernel cannot confine the process. WebAssembly and Deno then hold the code alone."""
    store: Path | None = None
    """Where the runtime is kept; by default `pyodide` in the data folder."""
    memory_bytes: Annotated[int, Field(ge=128 << 20, le=4 << 30)] = 2 << 30
    """Memory of the code, contexts included."""
    max_file_bytes: PositiveInt = 256 << 20
    """Of all files that code writes. They lie in memory, besides `memory_bytes`."""
    cell_timeout_s: PositiveFloat = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: PositiveInt = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""
    idle_timeout_s: PositiveFloat = 900.0
    """Seconds without a host after which a REPL ends itself."""


class E2BSettings(Value):
    """A sandbox for each REPL in E2B's cloud, or on a server that speaks like it. The key comes from `E2B_API_KEY`."""

    kind: Literal["e2b"] = "e2b"
    template: str = Field("base", pattern=r"^[A-Za-z0-9][\w./:-]*$")
    """Any template that has `python3`, 3.9 or later, by its name or id."""
    timeout_s: PositiveInt = 3600
    """Seconds that a sandbox may run after a host has come to it; each plan of E2B has a ceiling of its own."""
    idle_timeout_s: PositiveInt = 300
    """Seconds without a host after which a sandbox no longer runs."""
    pause: bool = True
    """Keep a sandbox that no longer runs, with its memory, until a host comes back to it. Else it is gone."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """What sandboxes are marked with, besides our own marks."""
    allow_internet: bool = False
    """Let code use the network."""
    bash: bool = False
    """Run cells that are written for the shell, and let code start programs."""
    memory_bytes: PositiveInt | None = None
    """Memory of the code, beyond the size of the contexts; by default seven eighths of what the sandbox has."""
    domain: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]+$")
    """Where the service is, if not at e2b.app; `E2B_DOMAIN` sets it too."""
    api_url: str | None = Field(None, pattern=r"^https?://[^@\s]+$")
    """Address of the API, where the domain does not tell."""
    sandbox_url: str | None = Field(None, pattern=r"^https?://[^@\s]+$")
    """Address of all sandboxes, where the domain does not tell."""
    cell_timeout_s: PositiveFloat = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: PositiveInt = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""


ExecutorSettings = LocalSettings | DockerSettings | PyodideSettings | E2BSettings | PackagedSettings
"""The union of all executors' settings, told apart by `kind`."""

PACKAGED = "packaged"
"""The member of the union that stands for the kinds that packages bring."""

_Executor = (
    Annotated[LocalSettings, Tag("local")]
    | Annotated[DockerSettings, Tag("docker")]
    | Annotated[PyodideSettings, Tag("pyodide")]
    | Annotated[E2BSettings, Tag("e2b")]
    | Annotated[SerializeAsAny[PackagedSettings], Tag(PACKAGED)]
)


class ModelPrice(Value):
    """What a model charges, in US dollars for a million tokens."""

    input_usd: NonNegativeFloat
    output_usd: NonNegativeFloat


Policy = Literal["first", "balanced", "cheapest"]


class PoolSettings(Value):
    """Models that stand for one another, under one name."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Their names. When one fails, the next is asked."""
    policy: Policy = "first"
    """Which is asked first: the first of the list, each in its turn, or the cheapest that can read the request."""


class ModelSettings(Value):
    """How models are reached. Keys come from the environment alone and are never stored."""

    base_url: str | None = None
    """Of an OpenAI-compatible server; `LLM_BASE_URL` and `OPENAI_BASE_URL` set it too."""
    temperature: float | None = None
    max_retries: int = 3
    """Further tries after a failure that may pass, with growing pauses."""
    request_timeout_s: PositiveFloat = 120.0
    max_concurrency: PositiveInt = 16
    """Sub-calls of one batch that are under way at once."""
    profile: Literal["standard", "small"] | None = None
    """Prompt profile; by default `small` for models on a local server, else `standard`."""
    window_tokens: PositiveInt = 128_000
    """The root model's context window, where litellm does not know it."""
    prices: dict[str, ModelPrice] = Field(default_factory=dict)
    """Prices by the name that the model is asked for with: for models that litellm has no price of, or a wrong one."""

    pools: dict[str, PoolSettings] = Field(default_factory=dict)
    """Models that stand for one another, by a name that can be given wherever a model is named."""
    cache_prompts: bool = True
    """Mark what stays the same between requests, for models of Anthropic, which then read it for a tenth of the price;
    other providers need no marks."""
    cache_ttl_s: PositiveInt | None = None
    """Seconds for which the reply to an equal request is taken from a cache. By default there is no cache."""

    @model_validator(mode="after")
    def _pools_hold_models(self) -> Self:
        for name, pool in self.pools.items():
            if nested := [member for member in pool.models if member in self.pools]:
                raise ValueError(f"the pool {name} holds the pool {nested[0]}; name its models instead")
        return self

    @field_validator("base_url")
    @classmethod
    def _names_a_server_and_no_secret(cls, url: str | None) -> str | None:
        from urllib.parse import urlsplit

        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not an http:// or https:// address")
        if parts.username or parts.password:
            raise ValueError("holds a user or password; credentials come from the environment, as OPENAI_API_KEY")
        return url


class ContextSettings(Value):
    """What may be taken in as a context."""

    max_download_bytes: PositiveInt = 2 << 30
    """The largest file that is fetched from a URL."""
    max_redirects: NonNegativeInt = 5
    """Redirects that a URL may lead through."""
    request_timeout_s: PositiveFloat = 30.0
    """Seconds of silence after which a download is given up."""
    max_memory_bytes: PositiveInt | None = None
    """Memory that a context may take in the REPL; by default what this machine has left when it is taken in."""


class SnapshotSettings(Value):
    """When a REPL is copied, so that a resumed run need not run all its cells again."""

    after_s: NonNegativeFloat = 5.0
    """Seconds that the cells since the last copy would take again."""
    max_bytes: PositiveInt = 64 << 20
    """The largest copy. Contexts do not count: they are not in it."""


EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable. What it holds is read when it is needed, and is in no setting."""


WebHost = Annotated[
    str,
    Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$"),
]
"""A host, all hosts below a domain, or all; with a port if it is not the scheme's own."""


class MCPSettings(Value):
    """An MCP server: a command of this machine, or the address of one that listens."""

    command: str | None = None
    """Program that speaks MCP on its standard input and output."""
    args: tuple[str, ...] = ()
    env: tuple[EnvironmentName, ...] = ()
    """Variables that the program is given, besides `PATH`, `HOME` and their like."""
    cwd: Path | None = None
    url: str | None = Field(None, pattern=r"^https?://[^@\s]+$")
    """Of a server that speaks MCP over HTTP (streamable HTTP)."""
    token: EnvironmentName | None = None
    """Variable that holds the bearer token for `url`."""
    headers: dict[str, EnvironmentName] = Field(default_factory=dict)
    """Headers for `url`, each with the variable that holds its value."""
    connect_timeout_s: PositiveFloat = 30.0
    """Seconds in which the server must have started and listed its tools."""
    timeout_s: PositiveFloat = 60.0
    """Seconds that one call may take."""

    @model_validator(mode="after")
    def _is_one_server(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("an MCP server has either a command or a url")
        return self


Protocol = Literal["repl", "tools"]
"""How a root model works: it writes code in its replies, or it calls tools."""


class ToolSettings(Value):
    """The tools that code may call. `rlm-graph tools` lists what there is."""

    use: tuple[str, ...] = ()
    """Names of the tools that a run has; the name of an MCP server stands for all its tools."""
    retrieval: str | None = None
    """The tool that answers the `context_query` of a call to a sub-model; by default `search`, if the run has it."""
    roots: tuple[Path, ...] = ()
    """Folders of this machine that the tools `file_read` and `search` may read, with all that lies beneath them."""
    max_read_bytes: PositiveInt = 1 << 20
    """The most that `file_read` returns at once."""
    max_search_bytes: PositiveInt = 64 << 20
    """The most that one `search` looks at."""
    web_hosts: tuple[WebHost, ...] = ()
    """Hosts that the tool `web_fetch` may ask: `example.org`, `*.example.org`, `example.org:8080`, or `*` for all."""
    web_private: bool = False
    """Let `web_fetch` ask addresses of this machine and of private networks."""
    web_max_bytes: PositiveInt = 2 << 20
    """The largest answer that `web_fetch` takes."""
    web_timeout_s: PositiveFloat = 30.0
    """Seconds that one `web_fetch` may take, redirects included."""
    mcp: dict[str, MCPSettings] = Field(default_factory=dict)
    """MCP servers by name, such as `[tools.mcp.weather]` with `command = "weather-server"`. Their tools are named
    `<server>_<tool>`."""


class MemorySettings(Value):
    """Whose notes runs read and write: those of one user in one project."""

    user: str = Field("default", min_length=1, max_length=200)
    project: str = Field("default", min_length=1, max_length=200)
    max_notes: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """The most that are kept."""
    max_chars: Annotated[int, Field(ge=1, le=100_000)] = 8_000
    """Characters of one note."""


class MemoryChoice(MemorySettings):
    """The same in a settings file, where it is off until it is turned on."""

    enabled: bool = False
    """Let code remember things for later runs; `rlm-graph memory` shows and erases them."""


def data_dir() -> Path:
    """Where runs and contexts are kept unless told otherwise: `RLM_DATA_DIR`, or the user's data folder."""
    import os

    import platformdirs

    return Path(os.environ.get("RLM_DATA_DIR") or platformdirs.user_data_dir("rlm-graph", appauthor=False))


def _by_kind(executor: Any) -> Any:
    if isinstance(executor, str):
        return {"kind": executor}
    return {"kind": "local", **executor} if isinstance(executor, Mapping) else executor


def _member(executor: Any) -> str:
    kind = executor.get("kind") if isinstance(executor, Mapping) else getattr(executor, "kind", None)
    return kind if kind in BUILT_IN else PACKAGED


class AgentSettings(Value):
    """A specialist, which code asks by its name. What is not set is as it is with the agent that asks."""

    model: str | None = None
    description: str = ""
    """What it is good for: read by the models that choose whom to ask."""
    system_prompt: str | None = None
    """What it is told about its task, besides how to work in the REPL."""
    tools: tuple[str, ...] | None = None
    """Names of all the tools that it has, as in `tools.use`."""
    memory: bool | None = None
    """`false` keeps the run's memory from it."""
    executor: Annotated[_Executor, Discriminator(_member), BeforeValidator(_by_kind)] | None = None
    budget: Budget | None = None
    """The most that it is granted for one question; less where half of what the asking agent has left is less."""


class Settings(BaseSettings):
    """The settings of one command. `Settings.load` reads them; built by hand, they hold what they are given."""

    model_config = SettingsConfigDict(
        env_prefix="RLM_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    model: str | None = None
    """The root model, by its litellm name, such as `openai/gpt-5` or `ollama/qwen3:8b`."""
    sub_model: str | None = None
    """The model that code asks; by default the root model."""
    executor: Annotated[_Executor, Discriminator(_member), BeforeValidator(_by_kind), NoDecode] = LocalSettings()
    """Where code runs. `executor = "local"` is short for a table with that `kind`."""
    budget: Budget = Budget()
    """What one run may spend."""
    caps: Caps = Caps()
    """The most that `budget` may be set to."""
    models: ModelSettings = ModelSettings()
    """How models are reached."""
    contexts: ContextSettings = ContextSettings()
    """What may be taken in as a context."""
    protocol: Protocol = "repl"
    """How the root model works: `repl` writes code in its replies, `tools` calls tools, of which `python` is one."""
    tools: ToolSettings = ToolSettings()
    """The tools that code may call."""
    agents: dict[str, AgentSettings] = Field(default_factory=dict)
    """Specialists by name, each a table such as `[agents.coder]` with `model`, `description`, `system_prompt`, `tools`,
    `executor` and `budget`; code asks one with `rlm_query(..., agent="coder")`."""
    memory: MemoryChoice = MemoryChoice()
    """What runs remember for later ones."""
    data_dir: Path = Field(default_factory=data_dir)
    """Where runs and contexts are kept."""
    db: DatabaseAddress | Path = Field(default_factory=lambda values: values["data_dir"] / "runs.sqlite")
    """The database of runs: a file, or `postgresql://user@host/name`; by default `runs.sqlite` in `data_dir`."""
    encrypt: bool = False
    """Encrypt all that runs say, in the database and beside it, with the key in `LANGGRAPH_AES_KEY`."""
    snapshots: SnapshotSettings = SnapshotSettings()
    """When a REPL is copied."""
    tracing: bool = False
    """Send traces to LangSmith. Its own variables alone do not turn it on."""

    @field_serializer("db", when_used="json")
    def _shows_no_password(self, db: str | Path) -> str:
        from rlm_graph.layers import without_password

        return without_password(db) if isinstance(db, str) else str(db)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(
        cls, flags: Mapping[str, Any] | None = None, *, config: Path | None = None, folder: Path | None = None
    ) -> Self:
        """Read the settings: `flags` > `RLM_*` variables > rlm.toml > pyproject.toml > the user's file > defaults.

        `flags` is nested as the settings are. `config` replaces `rlm.toml` of `folder` (the current one unless
        given). Raises `SetupError` for an unknown key or variable, a value that does not fit, or an unreadable file,
        and `InputError` for a flag's value that does not fit.
        """
        from rlm_graph.layers import merged, read_layers, validated

        layers = read_layers(cls, flags or {}, config=config, folder=folder or Path.cwd())
        values, origins = merged(layers)
        settings = validated(cls, values, origins)
        settings._origins.update(origins)
        return settings

    @classmethod
    def checked(cls, values: Mapping[str, Any], *, place: str = "flag") -> Self:
        """Build the settings from `values` alone; an error says that the value came from `place`."""
        from rlm_graph.layers import Layer, merged, validated

        return validated(cls, *merged([Layer(place, dict(values))]))

    @property
    def agent_executors(self) -> list[ExecutorSettings]:
        """The executors that specialists have of their own."""
        return [agent.executor for agent in self.agents.values() if agent.executor is not None]

    def origin(self, key: str) -> str:
        """Return where the value of `key` (dotted, such as `budget.max_turns`) came from."""
        return self._origins.get(key, "default")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing behind the caller's back: `load` hands in what it has read."""
        return (init_settings,)
