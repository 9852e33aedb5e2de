"""What can be set, and what holds when nothing is set. Every default lives here or in `Budget`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, PrivateAttr, field_serializer
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from rlm_graph.budget import Budget, Caps
from rlm_graph.described import Described
from rlm_graph.settings.executors import AnyExecutor, ExecutorSettings, LocalSettings
from rlm_graph.settings.marks import Guarded, Harmless, among, only
from rlm_graph.settings.models import ModelSettings
from rlm_graph.settings.tools import BUILT_IN_TOOLS, Protocol, ToolSettings
from rlm_graph.value import Value

DatabaseAddress = Annotated[str, Field(pattern=r"^postgres(ql)?://")]
"""Of a PostgreSQL server, in libpq's form."""


class ContextSettings(Value):
    """What may be taken in as a context."""

    sources: Guarded[tuple[Literal["path", "url"], ...]] = ()
    """What an input in JSON may name besides texts: `url` allows `{"url": "https://..."}`, `path` allows
    `{"path": "..."}` of this machine. Whoever may send an input can then have that read. `Path` and `URL` objects,
    which only Python makes, are always taken."""
    ignore: Annotated[bool, only(True)] = True
    """Leave out of folders what `.gitignore` names, and folders of builds, environments and caches."""
    max_download_bytes: Harmless[PositiveInt] = 2 << 30
    """The largest file that is fetched from a URL."""
    max_redirects: Harmless[NonNegativeInt] = 5
    """Redirects that a URL may lead through."""
    request_timeout_s: Harmless[PositiveFloat] = 30.0
    """Seconds of silence after which a download is given up."""
    max_memory_bytes: Harmless[PositiveInt | None] = None
    """Memory that a context may take in the REPL; by default what this machine has left when it is taken in."""


class SnapshotSettings(Value):
    """When a REPL is copied, so that a resumed run need not run all its cells again."""

    after_s: Harmless[NonNegativeFloat] = 5.0
    """Seconds that the cells since the last copy would take again."""
    max_bytes: Harmless[PositiveInt] = 64 << 20
    """The largest copy. Contexts do not count: they are not in it."""


class MemorySettings(Value):
    """Whose notes runs read and write: those of one user in one project."""

    user: Guarded[str] = Field(default="default", min_length=1, max_length=200)
    project: Guarded[str] = Field(default="default", min_length=1, max_length=200)
    max_notes: Guarded[Annotated[int, Field(ge=1, le=10_000)]] = 1_000
    """The most that are kept."""
    max_chars: Harmless[Annotated[int, Field(ge=1, le=100_000)]] = 8_000
    """Characters of one note."""


class MemoryChoice(MemorySettings):
    """The same in a settings file, where it is off until it is turned on."""

    enabled: Annotated[bool, only(False)] = False
    """Let code remember things for later runs."""


RUNS_FILE = "runs.sqlite"
"""The database of runs in the data folder."""


def data_dir() -> Path:
    """Where runs and contexts are kept unless told otherwise: `RLM_DATA_DIR`, or the user's data folder."""
    import os

    import platformdirs

    return Path(os.environ.get("RLM_DATA_DIR") or platformdirs.user_data_dir("rlm-graph", appauthor=False))


class AgentSettings(Value):
    """A specialist, which code asks by its name. What is not set is as it is with the agent that asks."""

    model: Harmless[str | None] = None
    description: Harmless[str] = ""
    """What it is good for: read by the models that choose whom to ask."""
    system_prompt: Harmless[str | None] = None
    """What it is told about its task, besides how to work in the REPL."""
    tools: Annotated[tuple[str, ...] | None, among(BUILT_IN_TOOLS)] = None
    """Names of all the tools that it has, as in `tools.use`."""
    memory: Annotated[bool | None, only(False)] = None
    """`false` keeps the run's memory from it."""
    executor: AnyExecutor | None = None
    budget: Harmless[Budget | None] = None
    """The most that it is granted for one question; less where half of what the asking agent has left is less."""


class Settings(Described, BaseSettings):
    """The settings of one command. `Settings.load` reads them; built by hand, they hold what they are given."""

    model_config = SettingsConfigDict(
        env_prefix="RLM_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    model: Harmless[str | None] = None
    """The root model, by its litellm name, such as `openai/gpt-5` or `ollama/qwen3:8b`."""
    sub_model: Harmless[str | None] = None
    """The model that code asks; by default the root model."""
    executor: Annotated[AnyExecutor, NoDecode] = LocalSettings()
    """Where code runs. `executor = "local"` is short for a table with that `kind`."""
    budget: Harmless[Budget] = Budget()
    """What one run may spend."""
    caps: Guarded[Caps] = Caps()
    """The most that `budget` may be set to."""
    models: ModelSettings = ModelSettings()
    """How models are reached."""
    contexts: ContextSettings = ContextSettings()
    """What may be taken in as a context."""
    protocol: Harmless[Protocol] = "repl"
    """How the root model works: `repl` writes code in its replies, `tools` calls tools, of which `python` is one."""
    tools: ToolSettings = ToolSettings()
    """The tools that code may call."""
    agents: dict[str, AgentSettings] = Field(default_factory=dict)
    """Specialists by name, each a table such as `[agents.coder]` with `model`, `description`, `system_prompt`, `tools`,
    `executor` and `budget`; code asks one with `rlm_query(..., agent="coder")`."""
    memory: MemoryChoice = MemoryChoice()
    """What runs remember for later ones."""
    data_dir: Guarded[Path] = Field(default_factory=data_dir)
    """Where runs and contexts are kept."""
    db: Guarded[DatabaseAddress | Path] = Field(default_factory=lambda values: values["data_dir"] / RUNS_FILE)
    """The database of runs: a file, or `postgresql://user@host/name`; by default `runs.sqlite` in `data_dir`."""
    encrypt: Annotated[bool, only(True)] = False
    """Encrypt all that runs say, in the database and beside it, with the key in `LANGGRAPH_AES_KEY`."""
    snapshots: SnapshotSettings = SnapshotSettings()
    """When a REPL is copied."""
    tracing: Annotated[bool, only(False)] = False
    """Send traces to LangSmith. Its own variables alone do not turn it on."""

    @field_serializer("db", when_used="json")
    def _shows_no_password(self, db: str | Path) -> str:
        from rlm_graph.settings.sources import without_password

        return without_password(db) if isinstance(db, str) else str(db)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(
        cls, flags: Mapping[str, Any] | None = None, *, config: Path | None = None, folder: Path | None = None
    ) -> Self:
        """Read the settings: `flags` > `RLM_*` variables > rlm.toml > pyproject.toml > the user's file > defaults.

        `flags` is nested as the settings are. `config` replaces `rlm.toml` of `folder` (the current one unless
        given). A guarded setting of `folder` (see `rlm_graph.settings.marks`) counts if the user has trusted the
        folder; a `config` is the user's own. Raises `UntrustedError` where one would count that may not, `SetupError`
        for an unknown key, a value that does not fit, or an unreadable file, and `InputError` for a flag's
        value that does not fit.
        """
        from rlm_graph.settings.sources import check_trust, current_folder, merged, read_layers, validated

        layers = read_layers(cls, flags or {}, config=config, folder=folder or current_folder())
        check_trust(cls, layers)
        values, origins = merged(layers)
        settings = validated(cls, values, origins)
        settings._origins.update(origins)
        return settings

    @classmethod
    def checked(cls, values: Mapping[str, Any], *, place: str = "flag") -> Self:
        """Build the settings from `values` alone; an error says that the value came from `place`."""
        from rlm_graph.settings.sources import Layer, merged, validated

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
