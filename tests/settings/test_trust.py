"""What a folder that nobody has trusted may set: nothing that runs, loads, sends or weakens."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from rlm_graph.errors import SetupError, UntrustedError
from rlm_graph.settings import Settings, trust
from rlm_graph.settings.executors import DockerSettings, E2BSettings
from rlm_graph.settings.marks import Guarded, Harmless, mark_of, tables_in, unmarked
from rlm_graph.settings.sources import user_file
from rlm_graph.settings.trusted import digest, forget, listed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a stranger, and a user with a folder of settings of their own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


GUARDED = {
    'db = "runs.sqlite"': "db",
    'data_dir = "data"': "data_dir",
    "encrypt = false": "encrypt",
    "tracing = true": "tracing",
    "caps.max_cost_usd = 1000": "caps.max_cost_usd",
    'caps.max_turns = "none"': "caps.max_turns",
    'models.base_url = "https://example.org/v1"': "models.base_url",
    'contexts.sources = ["path"]': "contexts.sources",
    "contexts.ignore = false": "contexts.ignore",
    "memory.enabled = true": "memory.enabled",
    'memory.user = "somebody"': "memory.user",
    'memory.project = "another"': "memory.project",
    "memory.max_notes = 1": "memory.max_notes",
    "executor.unsafe = true": "executor.unsafe",
    "executor.unsafe = 1": "executor.unsafe",
    'executor.unsafe = "true"': "executor.unsafe",
    'executor = "docker"': "executor.kind",
    'executor.kind = "e2b"': "executor.kind",
    'executor.image = "evil"': "executor.image",
    'executor.packages = ["evil==1"]': "executor.packages",
    "executor.pull = true": "executor.pull",
    'executor.host = "tcp://192.0.2.1:2375"': "executor.host",
    'executor.network = "host"': "executor.network",
    "executor.bash = true": "executor.bash",
    'executor.store = "runtime"': "executor.store",
    'executor.template = "evil"': "executor.template",
    'executor.metadata.run = "mine"': "executor.metadata.run",
    "executor.allow_internet = true": "executor.allow_internet",
    'executor.domain = "example.org"': "executor.domain",
    'executor.api_url = "https://example.org"': "executor.api_url",
    'executor.sandbox_url = "https://example.org"': "executor.sandbox_url",
    'tools.use = ["search", "of_a_package"]': "tools.use",
    'tools.roots = ["."  , ".."]': "tools.roots",
    'tools.roots = ["/etc"]': "tools.roots",
    'tools.roots = ["~"]': "tools.roots",
    'tools.web_hosts = ["*"]': "tools.web_hosts",
    "tools.web_private = true": "tools.web_private",
    'tools.mcp.x.command = "sh"': "tools.mcp.x.command",
    'tools.mcp.x.args = ["-c", "env"]': "tools.mcp.x.args",
    'tools.mcp.x.env = ["OPENAI_API_KEY"]': "tools.mcp.x.env",
    'tools.mcp.x.cwd = "/"': "tools.mcp.x.cwd",
    'tools.mcp.x.url = "https://example.org"': "tools.mcp.x.url",
    'tools.mcp.x.token = "OPENAI_API_KEY"': "tools.mcp.x.token",
    'tools.mcp.x.headers.authorization = "OPENAI_API_KEY"': "tools.mcp.x.headers.authorization",
    'agents.a.executor = "docker"': "agents.a.executor.kind",
    "agents.a.executor.unsafe = true": "agents.a.executor.unsafe",
    'agents.a.executor.api_url = "https://example.org"': "agents.a.executor.api_url",
    'agents.a.tools = ["of_a_package"]': "agents.a.tools",
    "agents.a.memory = true": "agents.a.memory",
}

HARMLESS = (
    'model = "openai/gpt-5"',
    'sub_model = "openai/gpt-5-mini"',
    "budget.max_turns = 3",
    "budget.max_cost_usd = 0.5",
    'protocol = "tools"',
    'models.profile = "small"',
    "models.temperature = 0.1",
    'models.pools.both.models = ["openai/gpt-5", "openai/gpt-5-mini"]',
    'executor = "local"',
    'executor = "pyodide"',
    "executor.unsafe = false",
    "executor.memory_bytes = 2000000000",
    "snapshots.after_s = 1",
    "encrypt = true",
    "tracing = false",
    "contexts.ignore = true",
    'tools.use = ["search", "file_read"]\ntools.roots = ["docs", "."]',
    'agents.a.model = "openai/gpt-5"\nagents.a.tools = ["search"]',
    "[caps]\n[tools.mcp]",
)


def written(text: str, name: str) -> str:
    return text if name == "rlm.toml" else "\n".join(f"tool.rlm-graph.{line}" for line in text.splitlines())


@pytest.mark.parametrize("name", ["rlm.toml", "pyproject.toml"])
@pytest.mark.parametrize("text", GUARDED)
def test_a_guarded_setting_of_a_folder_is_refused_and_named(text: str, name: str, folder: Path) -> None:
    (folder / name).write_text(written(text, name))

    with pytest.raises(UntrustedError) as caught:
        Settings.load()

    assert [line.partition(" = ")[0] for line in caught.value.wanted] == [GUARDED[text]]
    assert list(caught.value.files) == [folder / name]
    assert str(folder / name) in str(caught.value)


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_setting_of_a_folder_counts(text: str, folder: Path) -> None:
    (folder / "rlm.toml").write_text(text)

    settings = Settings.load()

    said = list(_leaves(tomllib.loads(text)))
    assert {settings.origin(key if key != "executor" else "executor.kind") for key in said} <= {
        str(folder / "rlm.toml")
    }


def _leaves(values: Any, above: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield above + key


def test_every_setting_says_whether_a_folder_may_have_it() -> None:
    assert list(unmarked(Settings)) == []


def test_a_setting_that_says_nothing_is_noticed() -> None:
    class Inner(BaseModel):
        said: Guarded[int] = 1
        forgotten: int = 2

    class Outer(BaseModel):
        one: Harmless[Annotated[str, "of another's"]] = ""
        table: Inner | None = None

    assert list(unmarked(Outer)) == ["table.forgotten"]


def test_each_guarded_setting_is_tried_here() -> None:
    tried = {key.replace("agents.a.", "agents.").replace("mcp.x.", "mcp.") for key in GUARDED.values()}

    def guarded(model: type[BaseModel], above: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            mark = mark_of(field)
            if mark is None:
                for table in tables_in(field.annotation):
                    yield from guarded(table, f"{above}{name}.")
            elif not mark.counts(True, Path()) or not mark.counts(False, Path()):
                yield above + name

    missing = {
        key
        for key in guarded(Settings, "")
        if not any(name == key or name.startswith(f"{key}.") for name in tried)
        and not key.startswith("agents.executor")
    }
    assert missing == set()
    assert {DockerSettings, E2BSettings} < set(tables_in(Settings.model_fields["executor"].annotation))


@pytest.mark.parametrize("text", ["tools.mcp.x.command = 'sh'", "models.base_url = 'https://example.org/v1'"])
def test_what_the_user_says_by_a_named_file_their_own_or_trust_counts(text: str, folder: Path) -> None:
    named = folder / "named.toml"
    named.write_text(text)
    by_name = Settings.load(config=named)
    user_file().parent.mkdir(parents=True)
    user_file().write_text(text)
    by_user = Settings.load()
    user_file().unlink()
    (folder / "rlm.toml").write_text(text)
    trust({folder / "rlm.toml": digest(text.encode())})
    by_trust = Settings.load()

    assert by_name.model_dump() == by_user.model_dump() == by_trust.model_dump() != Settings().model_dump()


def test_a_file_that_has_changed_is_trusted_no_longer(folder: Path) -> None:
    file = folder / "rlm.toml"
    file.write_text("executor.unsafe = true")
    trust({file: digest(file.read_bytes())})
    assert Settings.load().executor.model_dump()["unsafe"]

    file.write_text("executor.unsafe = true # ")
    with pytest.raises(UntrustedError):
        Settings.load()

    file.write_text("executor.unsafe = true")
    assert forget([file])
    with pytest.raises(UntrustedError):
        Settings.load()


def test_the_same_file_elsewhere_is_not_trusted(folder: Path, tmp_path: Path) -> None:
    content = b"executor.unsafe = true"
    (folder / "rlm.toml").write_bytes(content)
    trust({folder / "rlm.toml": digest(content)})
    other = tmp_path / "other"
    other.mkdir()
    (other / "rlm.toml").write_bytes(content)

    with pytest.raises(UntrustedError):
        Settings.load(folder=other)


def test_what_a_stronger_place_says_instead_needs_no_trust(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rlm.toml").write_text(
        'model = "a"\nmodels.base_url = "https://example.org/v1"\n[executor]\nkind = "docker"\nhost = "tcp://192.0.2.1:1"'
    )
    monkeypatch.setenv("RLM_EXECUTOR", "local")

    settings = Settings.load({"models": {"base_url": "http://127.0.0.1:1/v1"}})

    assert (settings.model, settings.models.base_url) == ("a", "http://127.0.0.1:1/v1")
    assert settings.executor.kind == "local"


def test_options_for_the_users_own_executor_are_refused_too(folder: Path) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text('executor = "docker"')
    (folder / "rlm.toml").write_text('[executor]\ncpus = 2\nhost = "tcp://192.0.2.1:2375"')

    with pytest.raises(UntrustedError) as caught:
        Settings.load()

    assert caught.value.wanted == ('executor.host = "tcp://192.0.2.1:2375"',)


def test_a_folder_inside_by_name_and_outside_by_a_link_is_outside(folder: Path, tmp_path: Path) -> None:
    (folder / "docs").symlink_to(tmp_path)
    (folder / "rlm.toml").write_text('tools.roots = ["docs"]')

    with pytest.raises(UntrustedError):
        Settings.load()


def test_nothing_that_a_stranger_has_written_reaches_a_terminal_as_more_than_text(folder: Path) -> None:
    (folder / "rlm.toml").write_text('[tools.mcp."x\\u001b[2J\\n"]\ncommand = "a\\u001b[2J\\u202e\\r\\nb"\n')

    with pytest.raises(UntrustedError) as caught:
        Settings.load()

    for text in (*caught.value.wanted, str(caught.value)):
        assert text.isascii()
        assert text.isprintable()


def test_a_damaged_list_is_an_error_and_trusts_nothing(folder: Path) -> None:
    trust({folder / "rlm.toml": "0"})
    assert list(listed()) == [str(folder / "rlm.toml")]
    (user_file().parent / "trusted.json").write_text("[")
    (folder / "rlm.toml").write_text("tracing = true")

    with pytest.raises(SetupError, match=r"trusted\.json: cannot be read"):
        Settings.load()
