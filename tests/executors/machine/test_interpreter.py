"""The Python that starts sandboxes, where this process is another program with Python in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rlm_graph.executors.machine.interpreter import interpreter


def found_as(executable: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\n"
        "from rlm_graph.errors import SetupError\n"
        "from rlm_graph.executors.machine.interpreter import interpreter\n"
        f"sys.executable = {executable!r}\n{before}\n"
        "try:\n    print(interpreter())\n"
        "except SetupError as error:\n    sys.exit(str(error))\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)


def test_it_is_that_of_this_process_where_that_is_python() -> None:
    assert interpreter() == sys.executable


@pytest.mark.parametrize("executable", ["/usr/sbin/uwsgi", ""])
def test_it_is_one_of_the_same_installation_where_this_process_is_another_program(executable: str) -> None:
    python = found_as(executable).stdout.strip()

    said = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, timeout=100)
    assert said.stdout.strip() == sys.version


def test_what_can_be_done_is_said_where_there_is_none() -> None:
    done = found_as("/usr/sbin/uwsgi", "sys.exec_prefix = sys.base_exec_prefix = '/nonexistent'")

    assert done.returncode == 1
    assert "sys.executable is '/usr/sbin/uwsgi', which is no Python" in done.stderr
    assert "set sys.executable to a Python" in done.stderr
