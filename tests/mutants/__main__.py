"""Changes the code in many small ways, one at a time, and shows which change no test noticed (`make mutants`).

Cosmic Ray makes the changes, in a copy of the repository. Each one takes the time of the tests of its module, so a room
takes an hour: `--module` chooses one, and `--sample` tries a few changes of each, the same ones for the same `--seed`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutants.choosing import choose

ROOT = Path(__file__).parents[2]

TESTS = {
    "rlm_graph/ledger.py": "tests/test_budget.py tests/test_budget_tree.py tests/calls tests/nodes",
    "rlm_graph/calls/*.py": "tests/calls tests/graphs/test_protocol_tools.py tests/graphs/test_recursion.py",
    "rlm_graph/recovery/*.py": "tests/recovery tests/graphs/test_resume.py tests/graphs/test_snapshots.py",
    "rlm_graph/nodes/*.py": "tests/nodes tests/graphs",
    "rlm_graph/storage/*.py": "tests/storage tests/runs tests/graphs/test_forking.py",
}
"""The tests that a change in the modules of a pattern must fail. The first that fails ends the trial of a change."""

SKIPPED = (
    "core/ReplaceBinaryOperator_BitOr_.*",  # mostly types
    # Of each arithmetic operator one change is enough.
    r"core/ReplaceBinaryOperator_Add_(?!Sub).*",
    r"core/ReplaceBinaryOperator_(Sub|Mul|Div|FloorDiv|Pow|Mod)_(?!Add).*",
    "core/RemoveDecorator",
    # Of comparisons the opposite, and where a limit lies: the others are these over again, or type errors.
    "core/ReplaceComparisonOperator_Is_(?!IsNot).*",
    "core/ReplaceComparisonOperator_IsNot_(?!Is$).*",
    "core/ReplaceComparisonOperator_Eq_(?!NotEq).*",
    "core/ReplaceComparisonOperator_NotEq_(?!Eq).*",
    "core/ReplaceComparisonOperator_(Lt|LtE|Gt|GtE)_(Is|IsNot|Eq|NotEq)",
)

CONFIG = """
[cosmic-ray]
module-path = ["{module}"]
timeout = {timeout_s}
excluded-modules = []
test-command = "{python} -m pytest -q -x -n 0 -p no:cacheprovider -m 'not postgres and not docker' {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = {skipped}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--module", action="append", help="a module, for instance rlm_graph/ledger.py; by default all")
    parser.add_argument("--tests", help="run these instead of the module's own, for instance a single file")
    parser.add_argument("--timeout", type=float, default=240, help="seconds after which the tests count as failed")
    parser.add_argument("--sample", type=_count, metavar="N", help="try N changes of each module, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="which ones: the same seed chooses the same")
    given = parser.parse_args(arguments)
    ray = Path(os.environ["COSMIC_RAY"]).absolute()  # it is called from the copy
    survived = 0
    for module, tests in _modules(given.module):
        with tempfile.TemporaryDirectory() as folder:
            survived += _try(
                ray,
                Path(folder),
                module,
                given.tests or tests,
                timeout_s=given.timeout,
                sample=given.sample,
                seed=given.seed,
            )
    return 1 if survived else 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number from 1 on")
    return number


def _modules(chosen: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    for pattern, tests in TESTS.items():
        for path in sorted(ROOT.glob(pattern)):
            module = str(path.relative_to(ROOT))
            if path.name != "__init__.py" and (not chosen or module in chosen):
                yield module, tests


def _try(ray: Path, folder: Path, module: str, tests: str, *, timeout_s: float, sample: int | None, seed: int) -> int:
    """Make every change of one module, or a sample; print those that survived and return how many."""
    copy, session = folder / "copy", folder / "session.sqlite"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "htmlcov", "build", "dist"))
    config = folder / "config.toml"
    skipped = "[" + ", ".join(f"'{pattern}'" for pattern in SKIPPED) + "]"
    config.write_text(
        CONFIG.format(module=module, timeout_s=timeout_s, python=sys.executable, tests=tests, skipped=skipped)
    )
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*command: str | Path) -> str:
        return subprocess.run(
            [ray / command[0], *command[1:]], cwd=copy, env=environment, check=True, text=True, capture_output=True
        ).stdout

    run("cosmic-ray", "init", config, session)
    run("cr-filter-operators", session, config)
    source = (copy / module).read_text()
    tried, possible = choose(session, source, sample=sample, seed=f"{seed} {module}")
    run("cosmic-ray", "exec", config, session)
    report = run("cr-report", "--surviving-only", "--show-diff", session)
    survived = _figure(report, "surviving mutants")
    which = "changes" if tried == possible else f"changes, a sample of {possible} with seed {seed}"
    print(f"== {module}: {tried} {which}: {survived} survived\n{report if survived else ''}", flush=True)
    return survived


def _figure(report: str, words: str) -> int:
    found = re.search(rf"^{words}: (\d+)", report, re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
