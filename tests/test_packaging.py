"""What is built and installed is what the tree holds, under one package and under no other name."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PUBLIC = ROOT / "examples" / "public.py"
MOUNTED = ("graphs", "nodes")
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "rlm_graph", *MOUNTED)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.py[co]", ".*_cache", "*.egg-info")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from, links as links."""
    copy = tmp_path_factory.mktemp("tree")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=LEFT_OUT)
        else:
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree itself."""
    return _built(tree, tmp_path_factory.mktemp("wheel"), "--wheel", "*.whl")


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(tree, tmp_path_factory.mktemp("sdist"), "--sdist", "*.tar.gz")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment with the wheel in it, and beside it what the wheel depends on."""
    environment = tmp_path_factory.mktemp("installed")
    _run([sys.executable, "-m", "venv", "--without-pip", str(environment)], environment)
    python = environment / "bin" / "python"
    _run(
        [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--python", str(python), str(wheel)],
        environment,
    )
    # A line in a .pth file lends the packages of this environment, but not the tree that is installed there.
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_the_wheel_holds_every_file_of_the_tree_once(wheel: Path, tree: Path) -> None:
    expected = {name for name in _files(tree / "rlm_graph", "rlm_graph") if not _is_mounted(name)}
    for folder in MOUNTED:
        expected |= _files(tree / folder, f"rlm_graph/{folder}")

    names = zipfile.ZipFile(wheel).namelist()

    assert len(names) == len(set(names))
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert "rlm_graph/py.typed" in expected


def test_the_wheel_carries_the_licence_and_the_command(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel)
    by_name = {name.partition(".dist-info/")[2]: name for name in files.namelist() if ".dist-info/" in name}

    assert "MIT License" in files.read(by_name["licenses/LICENSE"]).decode()
    assert "rlm-graph = rlm_graph.cli:main" in files.read(by_name["entry_points.txt"]).decode()


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [unpacked] = tmp_path.iterdir()

    again = _built(unpacked, tmp_path / "dist", "--wheel", "*.whl")

    assert _contents(again) == _contents(wheel)


def test_an_installed_package_works_and_leaves_no_bare_name(installed: Path, tmp_path: Path) -> None:
    probe = """
import importlib, importlib.util, json
import rlm_graph
modules = ["rlm_graph.graphs.agent", "rlm_graph.nodes.act"]
print(json.dumps({
    "bare": [name for name in ("graphs", "nodes", "tests") if importlib.util.find_spec(name)],
    "files": [rlm_graph.__file__] + [importlib.import_module(name).__file__ for name in modules],
}))
"""

    found = json.loads(_run([str(installed / "python"), "-c", probe], tmp_path))

    assert found["bare"] == []
    assert all(Path(file).is_relative_to(installed.parent) for file in found["files"])


def test_the_example_of_the_public_face_uses_every_name_of_it() -> None:
    import rlm_graph

    program = ast.parse(PUBLIC.read_text())
    imported = {
        name.name
        for statement in program.body
        if isinstance(statement, ast.ImportFrom) and statement.module == "rlm_graph"
        for name in statement.names
    }
    used = {node.id for node in ast.walk(program) if isinstance(node, ast.Name)}

    assert imported == set(rlm_graph.__all__)
    assert imported <= used


def test_what_type_checkers_are_told_of_the_public_names_is_what_there_is() -> None:
    import rlm_graph

    told = {
        name.asname: statement.module
        for statement in ast.walk(ast.parse((ROOT / "rlm_graph/__init__.py").read_text()))
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("rlm_graph.")
        for name in statement.names
    }

    assert told == rlm_graph._HOMES


@pytest.mark.timeout(900)  # the first time, each checker reads all that is installed
def test_a_program_that_uses_the_public_face_passes_strict_type_checkers(
    installed: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    program = shutil.copy2(PUBLIC, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"include": [PUBLIC.name], "typeCheckingMode": "strict", "pythonVersion": "3.11"})
    )
    cache = pytestconfig.cache
    kept = tmp_path if cache is None else cache.mkdir("mypy")

    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={kept}"]
    _run([*mypy, f"--python-executable={installed / 'python'}", str(program)], tmp_path, timeout_s=600)
    _run(
        [sys.executable, "-m", "basedpyright", f"--pythonpath={installed / 'python'}", "--warnings"],
        tmp_path,
        timeout_s=300,
    )


def test_the_installed_command_answers(installed: Path, tmp_path: Path) -> None:
    assert "Usage: rlm-graph" in _run([str(installed / "rlm-graph"), "--help"], tmp_path)


def test_every_folder_with_code_is_a_listed_package() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])

    with_code = {path.parent for path in (ROOT / "rlm_graph").rglob("*.py")}
    with_code |= {path.parent for folder in MOUNTED for path in (ROOT / "rlm_graph" / folder).rglob("*.py")}

    assert {".".join(folder.relative_to(ROOT).parts) for folder in with_code} == listed


def test_the_mounted_folders_are_links_to_the_folders_at_the_top() -> None:
    for folder in MOUNTED:
        link = ROOT / "rlm_graph" / folder
        assert os.readlink(link) == f"../{folder}"
        assert (ROOT / folder / "__init__.py").is_file()


def test_the_extra_all_is_every_extra_that_a_run_can_use() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    [everything] = extras["all"]

    assert Requirement(everything).extras == extras.keys() - {"all", "testing"}


def test_what_the_package_imports_is_what_it_depends_on() -> None:
    distributions = packages_distributions()
    declared = {requirement.name for requirement in _direct(development=False)}

    undeclared = {
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("rlm_graph", *MOUNTED)
        for path in (ROOT / folder).rglob("*.py")
        for name in _foreign_imports(path)
        if declared.isdisjoint(canonicalize_name(owner) for owner in distributions.get(name, []))
    }

    assert undeclared == set()


def test_the_malicious_versions_of_litellm_cannot_be_installed() -> None:
    [litellm] = [requirement for requirement in _direct() if requirement.name == "litellm"]

    assert not litellm.specifier.contains("1.82.7")
    assert not litellm.specifier.contains("1.82.8")


def test_the_lock_holds_every_direct_dependency_in_a_version_that_fits_and_with_its_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.findall(r"^([\w.-]+)==([^\s;]+)(.*(?:\n {4}--hash=.*)+)", lock, re.MULTILINE)
    locked = {name: Version(version) for name, version, _ in entries}

    assert len(entries) == len(re.findall(r"^\w", lock, re.MULTILINE))
    unfit = [
        str(requirement)
        for requirement in _direct()
        if requirement.name not in locked or not requirement.specifier.contains(locked[requirement.name])
    ]
    assert unfit == []


def test_the_lock_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()

    assert "://" not in lock
    assert "index-url" not in lock


def _direct(*, development: bool = True) -> list[Requirement]:
    """Every dependency that pyproject.toml names, but the project itself."""
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    if development:
        groups += PROJECT["dependency-groups"].values()
    requirements = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in requirements if requirement.name != project["name"]]


def _foreign_imports(path: Path) -> set[str]:
    """The top-level names that a module imports from outside the standard library and the package."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                names.update(alias.name.split(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                names.add(module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"rlm_graph"}


def _built(tree: Path, out: Path, kind: str, pattern: str) -> Path:
    """Build with the real tools, which this environment has: nothing is fetched."""
    _run([sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", str(out), str(tree)], tree.parent)
    [built] = out.glob(pattern)
    return built


def _run(command: list[str], folder: Path, *, timeout_s: float = 100) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _files(folder: Path, name: str) -> set[str]:
    return {f"{name}/{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_file()}


def _is_mounted(name: str) -> bool:
    return name.startswith(tuple(f"rlm_graph/{folder}/" for folder in MOUNTED))


def _contents(wheel: Path) -> dict[str, bytes]:
    files = zipfile.ZipFile(wheel)
    return {name: files.read(name) for name in files.namelist()}
