"""Run the one list of behaviours against every executor, and print a table of what each shows.

    python -m tests.executors.conformance_table

Exits with 1 if a behaviour is neither shown nor declared. What cannot run on this machine is told, and is a failure
only where `RLM_REQUIRE` names it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = {
    "local": "tests/executors/local/test_conformance.py::TestLocalExecutor",
    "docker": "tests/executors/docker/test_conformance.py::TestConformance",
    "pyodide": "tests/executors/pyodide/test_conformance.py::TestConformance",
    "e2b": "tests/executors/e2b/test_conformance.py::TestConformance",
    "e2b, in the cloud": "tests/executors/e2b/test_conformance.py::TestConformanceInTheCloud",
}
OUTCOMES = ("passed", "failed", "declared", "not run")


@dataclass
class Results:
    """What one executor showed."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    declared: dict[str, list[str]] = field(default_factory=dict)
    """Behaviours by the reason why they are not there."""
    not_run: set[str] = field(default_factory=set)

    def add(self, case: ElementTree.Element) -> None:
        """Count a test as pytest reports it."""
        name = case.get("name", "").removeprefix("test_").replace("_", " ")
        wrong = next((part for part in case if part.tag in ("failure", "error")), None)
        skipped = case.find("skipped")
        if wrong is not None:
            outcome = "failed"
            self.failures.append((name, (wrong.text or wrong.get("message", "")).strip()))
        elif skipped is None:
            outcome = "passed"
        elif skipped.get("type") == "pytest.xfail":
            outcome = "declared"
            self.declared.setdefault(skipped.get("message", ""), []).append(name)
        else:
            outcome = "not run"
            self.not_run.add(skipped.get("message", ""))
        self.counts[outcome] += 1

    @property
    def is_whole(self) -> bool:
        """Whether the list was gone through, and nothing failed."""
        return bool(self.counts) and not self.counts["failed"]


def run(tests: str, pytest_args: list[str]) -> Results:
    """Run the list against one executor, in a process of its own."""
    results = Results()
    with tempfile.TemporaryDirectory(prefix="rlm-conformance-") as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", tests, "-q", f"--junitxml={report}", *pytest_args]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    for case in cases:
        results.add(case)
    if done.returncode and not results.counts["failed"]:
        results.counts["failed"] += 1
        results.failures.append(("the list could not be gone through", done.stdout[-2000:]))
    return results


def main() -> int:
    """Print a row for each executor as soon as it is through, then why what is missing is."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.executors.conformance_table",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Other options go to pytest.",
    )
    parser.add_argument("--executor", action="append", choices=LISTS, help="this one only")
    options, pytest_args = parser.parse_known_args()
    print(f"{'executor':20}{'behaviours':>12}", *(f"{outcome:>10}" for outcome in OUTCOMES), sep="")
    found: dict[str, Results] = {}
    for executor in options.executor or LISTS:
        results = found[executor] = run(LISTS[executor], pytest_args)
        counts = [results.counts[outcome] for outcome in OUTCOMES]
        print(f"{executor:20}{sum(counts):>12}", *(f"{count:>10}" for count in counts), sep="", flush=True)
    for executor, results in found.items():
        for reason in sorted(results.not_run):
            print(f"\n{executor} was not run: {reason}")
        for reason, names in results.declared.items():
            print(f"\n{executor} declares: {reason}", *(f"  {name}" for name in names), sep="\n")
        for name, why in results.failures:
            print(f"\n{executor} FAILED: {name}", *(f"  {line}" for line in why.splitlines()[-40:]), sep="\n")
    return 0 if all(results.is_whole for results in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
