"""Who imports whom: the contracts in pyproject.toml hold, and they see the whole tree."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp

from rlm_graph.settings.plugins import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
WORKER = ROOT / "rlm_graph" / "executors" / "sandbox"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_every_import_goes_down_the_layers() -> None:
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"

    checked = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, timeout=100)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_contracts_see_the_mounted_folders() -> None:
    seen = grimp.build_graph("rlm_graph", cache_dir=None).modules

    for folder in ("graphs", "nodes"):
        files = (ROOT / folder).rglob("*.py")
        modules = {".".join(("rlm_graph", *path.relative_to(ROOT).with_suffix("").parts)) for path in files}
        assert {module.removesuffix(".__init__") for module in modules} <= seen


def test_the_worker_imports_only_the_standard_library_and_its_own_files() -> None:
    ours = "rlm_graph.executors.sandbox"

    foreign = [
        f"{path.name}: {module}"
        for path in WORKER.rglob("*.py")
        for module in _imported(path)
        if module.split(".")[0] not in sys.stdlib_module_names and module != ours and not module.startswith(f"{ours}.")
    ]

    assert foreign == []


def test_every_executor_is_named_in_the_contract_that_keeps_them_apart() -> None:
    apart = next(contract for contract in CONTRACTS if contract["type"] == "independence")

    assert {f"rlm_graph.executors.{kind}" for kind in BUILT_IN} <= set(apart["modules"])


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module
