"""What the tests do about a machine that lacks something, and that what it has can be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlm_graph.executors.sandbox.confinement.confine import probe


@pytest.mark.confinement
def test_the_kernel_can_confine_a_process() -> None:
    assert probe()["missing"] == []


# Modules with a shared library of their own, or one that only threads need.
CODE = """
import bz2, ctypes, decimal, json, lzma, readline, socket, sqlite3, ssl, threading, zlib
threads = [threading.Thread(target=int) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sqlite3.connect(":memory:").execute("select 41 + 1").fetchone()[0])
"""


@pytest.mark.docker
def test_the_image_made_for_the_tests_runs_python_without_a_network(docker_image: str) -> None:
    command = ["docker", "run", "--rm", "--network", "none", "--user", "1000", "--read-only", docker_image]

    ran = subprocess.run([*command, "python3", "-c", CODE], capture_output=True, text=True, timeout=60)

    assert (ran.stdout, ran.stderr) == ("42\n", "")


@pytest.mark.postgres
def test_the_postgres_server_of_the_tests_answers(postgres: str) -> None:
    import psycopg

    with psycopg.connect(postgres) as connection:
        assert connection.execute("select 41 + 1").fetchone() == (42,)


@pytest.mark.pyodide
def test_deno_starts() -> None:
    from deno import find_deno_bin

    ran = subprocess.run([find_deno_bin(), "eval", "console.log(41 + 1)"], capture_output=True, text=True, timeout=60)

    assert ran.stdout == "42\n", ran.stderr


PROBE = """
import pytest

@pytest.mark.live
def test_that_needs_what_is_not_here():
    pass
"""


@pytest.mark.parametrize(
    ("required", "outcome"), [("", "1 skipped"), ("live", "1 error"), ("lvie", "RLM_REQUIRE names lvie")]
)
@pytest.mark.parametrize("side_by_side", [(), ("-p", "xdist", "--numprocesses=1")], ids=["alone", "side by side"])
def test_what_is_missing_skips_a_test_and_fails_it_where_it_is_required(
    required: str, outcome: str, side_by_side: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (tmp_path / "test_probe.py").write_text(PROBE)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", os.devnull]
    environment = {**os.environ, "RLM_REQUIRE": required, "RLM_LIVE": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    del environment["TESTS_REQUIRE"]

    ran = subprocess.run(
        [*command, *side_by_side, str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert outcome in ran.stdout + ran.stderr
    assert (ran.returncode == 0) == (required == "")
