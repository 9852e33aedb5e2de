"""What importing the package does not do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HEAVY = {"deno", "docker", "e2b", "e2b_code_interpreter", "httpx", "langchain_core", "langchain_litellm", "langgraph"}
HEAVY |= {"langsmith", "litellm", "openai", "psycopg", "pydantic", "typer"}

PROBE = """
import json, sys

done = []

def watch(event, arguments):
    if event == "open" or event.startswith(("socket.", "subprocess.", "os.", "shutil.", "tempfile.", "ctypes.")):
        done.append([event, str(arguments[0]) if arguments else "", str(arguments[1]) if len(arguments) > 1 else ""])

loaded = set(sys.modules)
sys.addaudithook(watch)
import rlm_graph
seen = list(done)
folders = [*rlm_graph.__path__, *sys.path]
json.dump({"loaded": sorted(set(sys.modules) - loaded), "done": seen, "path": folders}, sys.stdout)
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What `import rlm_graph` loaded and what it asked of the system, in a fresh interpreter."""
    command = [sys.executable, "-B", "-c", PROBE]
    folder = tmp_path_factory.mktemp("elsewhere")
    ran = subprocess.run(command, cwd=folder, env=_plain(), capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_importing_the_package_loads_no_sdk(imported: dict[str, list[str]]) -> None:
    assert {module.split(".")[0] for module in imported["loaded"]} & HEAVY == set()


def test_importing_the_package_asks_nothing_of_the_system_but_its_modules(imported: dict[str, list[str]]) -> None:
    folders = tuple(path for path in imported["path"] if path)

    asked = [
        (event, what, how)
        for event, what, how in imported["done"]
        # Python itself lists the folders of its path and reads modules there.
        if not (event == "os.listdir" and what.startswith(folders))
        and not (event == "open" and what.startswith(folders) and what.endswith((".py", ".pyc", ".so")) and "r" in how)
    ]

    assert asked == []


def test_every_public_name_is_there(imported: dict[str, list[str]]) -> None:
    import rlm_graph

    assert [name for name in rlm_graph.__all__ if not hasattr(rlm_graph, name)] == []
    assert set(rlm_graph.__all__) <= set(dir(rlm_graph))


def test_help_takes_less_than_three_tenths_of_a_second_of_processor_time(tmp_path: Path) -> None:
    script = Path(sysconfig.get_path("scripts"), "rlm-graph")

    # The first run compiles the modules. Of the others the least disturbed one counts.
    measured = [_processor_seconds([str(script), "--help"], tmp_path) for _ in range(4)][1:]

    assert min(measured) < 0.3


def _processor_seconds(command: list[str], folder: Path) -> float:
    process = subprocess.Popen(command, cwd=folder, env=_plain(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def _plain() -> dict[str, str]:
    """The environment without what measures coverage, which loads modules and takes time of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}
