"""What the tests do about a machine that lacks something, and that what it has can be used."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.docker
def test_the_image_made_for_the_tests_runs_python_without_a_network(docker_image: str) -> None:
    command = ["docker", "run", "--rm", "--network", "none", docker_image, "python3", "-c"]
    code = "import bz2, ctypes, decimal, json, lzma, socket, sqlite3, ssl, threading, zlib; print(sqlite3.connect(':memory:').execute('select 41 + 1').fetchone()[0])"

    ran = subprocess.run([*command, code], capture_output=True, text=True, timeout=60)

    assert (ran.stdout, ran.stderr) == ("42\n", "")
