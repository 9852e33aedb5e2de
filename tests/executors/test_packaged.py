"""An executor that another package brings: a real distribution on the path, which registers a class of settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner, Result

from rlm_graph import create_rlm_agent
from rlm_graph.errors import InputError, SetupError
from rlm_graph.executors import create_executor
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.executors.sandbox_owners import sandbox_owners
from rlm_graph.settings import ExecutorSettings, Settings
from rlm_graph.settings.plugins import BUILT_IN, PluginExecutorSettings
from rlm_graph.testing import ScriptedModel

SETTINGS = '''
import sys
from typing import Literal

from pydantic import PositiveFloat

from rlm_graph.settings.plugins import PluginExecutorSettings

sys.shed_was_imported = True


class ShedSettings(PluginExecutorSettings):
    """Code runs in the shed."""

    kind: Literal["shed"] = "shed"
    door: str = "closed"
    cell_timeout_s: PositiveFloat = 45.0

    def executor(self):
        from shed.executor import ShedExecutor

        return ShedExecutor(self)


class Nameless(PluginExecutorSettings):
    kind: Literal["another"] = "another"
'''
EXECUTOR = """
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import LocalSettings


class ShedExecutor(LocalExecutor):
    kind = "shed"
    shared_folder = "shed"

    def __init__(self, settings):
        super().__init__(LocalSettings(cell_timeout_s=settings.cell_timeout_s))
        self.door = settings.door
"""
CONFORMANCE = """
import pytest
from rlm_graph.executors import create_executor
from rlm_graph.executors.conformance import ExecutorConformance


class TestShedExecutor(ExecutorConformance):
    @pytest.fixture
    def executor(self):
        return create_executor("shed")
"""
POINTS = """
[rlm_graph.executors]
shed = shed:ShedSettings
local = shed:ShedSettings
nameless = shed:Nameless
number = shed:sys
gone = no_such_module:Settings
"""


def distribution(folder: Path, name: str, points: str) -> None:
    info = folder / f"{name}-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(points)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path that holds the distribution `shed` 2.5."""
    folder = tmp_path / "site"
    (folder / "shed").mkdir(parents=True)
    distribution(folder, "shed", POINTS)
    (folder / "shed" / "__init__.py").write_text(SETTINGS)
    (folder / "shed" / "executor.py").write_text(EXECUTOR)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "shed"]:
        del sys.modules[name]
    vars(sys).pop("shed_was_imported", None)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "rlm.toml"
    path.write_text('[executor]\nkind = "shed"\ndoor = "open"\n')
    return path


def rlm(*arguments: object) -> Result:
    from rlm_graph.cli.app import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="rlm-graph")


def test_it_is_chosen_by_its_kind_with_its_own_defaults(package: Path) -> None:
    executor = create_executor("shed")

    assert (executor.kind, executor.cell_timeout_s) == ("shed", 45.0)


def test_nothing_of_it_is_imported_before_it_is_chosen(package: Path) -> None:
    create_executor("local")
    Settings.checked({"executor": {"kind": "docker", "cpus": 2}})

    assert not hasattr(sys, "shed_was_imported")

    Settings.checked({"executor": {"kind": "shed"}})

    assert hasattr(sys, "shed_was_imported")
    assert "shed.executor" not in sys.modules


def test_help_asks_for_no_package(package: Path) -> None:
    probe = (
        "import sys, importlib.metadata as m\n"
        "def asked(**_): raise SystemExit('asked for packages')\n"
        "m.entry_points = asked\n"
        "from rlm_graph.cli.app import app\n"
        "app(sys.argv[1:])"
    )
    for arguments in (["--help"], ["run", "--help"]):
        done = subprocess.run([sys.executable, "-c", probe, *arguments], capture_output=True, text=True, timeout=60)

        assert done.returncode == 0, done.stderr
    assert all(kind in done.stdout for kind in ("local", "docker", "pyodide", "e2b"))


async def test_an_agent_runs_its_code_there(package: Path) -> None:
    agent = create_rlm_agent(ScriptedModel(["```repl\nFINAL(6 * 7)\n```"]), executor="shed")

    result = await agent.ainvoke({"question": "How much?"})

    assert result["answer"].text == "42"


def test_a_settings_file_and_variables_choose_it_and_its_options(
    package: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLM_EXECUTOR__CELL_TIMEOUT_S", "7")

    settings = Settings.load(config=config, folder=tmp_path)
    executor = create_executor(settings.executor)

    assert vars(executor)["door"] == "open"
    assert executor.cell_timeout_s == 7
    assert settings.origin("executor.door") == str(config)
    assert settings.origin("executor.cell_timeout_s") == "RLM_EXECUTOR__CELL_TIMEOUT_S"

    monkeypatch.setenv("RLM_EXECUTOR__DOOR", "ajar")

    assert vars(create_executor(Settings.load(config=config, folder=tmp_path).executor))["door"] == "ajar"


def test_a_run_that_is_taken_up_again_has_its_options(package: Path, config: Path, tmp_path: Path) -> None:
    settings = Settings.load(config=config, folder=tmp_path)

    kept = json.loads(json.dumps(settings.model_dump(mode="json")))

    assert kept["executor"] == {"kind": "shed", "door": "open", "cell_timeout_s": 45.0}
    assert Settings.checked({"executor": kept["executor"]}).executor == settings.executor


def test_another_kind_given_as_a_flag_takes_no_options_of_it(package: Path, config: Path, tmp_path: Path) -> None:
    settings = Settings.load({"executor": {"kind": "local"}}, config=config, folder=tmp_path)

    assert isinstance(create_executor(settings.executor), LocalExecutor)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('door = "open"\nkind = "shed"\nwindow = 1', "rlm.toml: unknown key executor.window"),
        ('kind = "shed"\ncpus = 1', "rlm.toml: executor.cpus: the shed executor has no such setting"),
        ('kind = "shed"\ncell_timeout_s = -1', "rlm.toml: executor.cell_timeout_s: .* greater than 0"),
        ('kind = "shack"', "rlm.toml: executor.kind: 'shack' is none of 'local', 'docker', 'pyodide', 'e2b', .*'shed'"),
        ('kind = "gone"', "executor.kind: 'gone', which shed 2.5 brings, cannot be loaded: No module"),
        ('kind = "number"', "'number', which shed 2.5 brings, cannot be used: shed:sys is no subclass of"),
        ('kind = "nameless"', "'nameless', .* cannot be used: the kind of shed:Nameless is 'another'"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(package: Path, tmp_path: Path, table: str, words: str) -> None:
    path = tmp_path / "rlm.toml"
    path.write_text(f"[executor]\n{table}\n")

    with pytest.raises(SetupError, match=words):
        Settings.load(config=path, folder=tmp_path)


def test_an_unknown_kind_is_told_with_all_that_there_are(package: Path) -> None:
    with pytest.raises(SetupError, match=r"'shack' is none of 'local', 'docker', 'pyodide', 'e2b', .*'shed'"):
        create_executor("shack")
    with pytest.raises(InputError, match="'shed'"):
        Settings.checked({"executor": {"kind": "shack"}})

    assert rlm("run", "Q", "--executor", "shack").exit_code == 2


def test_every_kind_that_is_built_in_can_be_chosen() -> None:
    members = [member for member in get_args(ExecutorSettings) if member is not PluginExecutorSettings]

    assert [member().kind for member in members] == list(BUILT_IN)
    assert [create_executor(kind).kind for kind in BUILT_IN] == list(BUILT_IN)


def test_what_is_built_in_cannot_be_replaced(package: Path) -> None:
    assert type(create_executor("local")) is LocalExecutor


def test_a_kind_that_two_packages_bring_is_refused(package: Path) -> None:
    distribution(package, "hut", "[rlm_graph.executors]\nshed = shed:ShedSettings\n")

    with pytest.raises(SetupError, match=r"brought twice, by (hut 2.5 and shed 2.5|shed 2.5 and hut 2.5)"):
        create_executor("shed")


def test_the_doctor_shows_those_that_work_and_why_the_others_do_not(package: Path) -> None:
    checks = {check["name"]: check for check in json.loads(rlm("doctor", "--json").stdout)}

    assert checks["executor shed"] == {"name": "executor shed", "state": "ok", "detail": "of shed 2.5"}
    assert checks["executor gone"]["state"] == "absent"
    assert "cannot be loaded" in checks["executor gone"]["detail"]


def test_its_sandboxes_are_listed_and_swept_where_the_settings_name_it(package: Path, config: Path) -> None:
    settings = Settings.load(config=config).executor

    assert [keeper for keeper in sandbox_owners(settings) if getattr(keeper, "kind", "") == "shed"]


def test_it_shows_the_behaviours_by_a_test_module_of_its_own(package: Path, tmp_path: Path) -> None:
    module = tmp_path / "test_shed.py"
    module.write_text(CONFORMANCE)
    chosen = "declared or functions_see or found_again or chance_repeats"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, str(module)]
    environment = {**os.environ, "PYTHONPATH": str(package)}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)

    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split()[-4]) >= 4, done.stdout
