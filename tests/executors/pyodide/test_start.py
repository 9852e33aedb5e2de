"""What REPLs start from: the runtime, fetched and checked, and a snapshot."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_graph.errors import SetupError
from rlm_graph.executors import create_executor
from rlm_graph.executors.pyodide import PyodideExecutor, image, runtime
from rlm_graph.executors.sandbox.supervisor.program import ENVIRONMENT
from rlm_graph.settings import PyodideSettings

pytestmark = pytest.mark.pyodide


def test_it_is_chosen_by_its_name() -> None:
    assert isinstance(create_executor("pyodide"), PyodideExecutor)
    assert isinstance(create_executor(PyodideSettings()), PyodideExecutor)


async def test_without_the_runtime_it_says_how_to_fetch_it(tmp_path: Path) -> None:
    executor = PyodideExecutor(PyodideSettings(store=tmp_path / "store"), folder=tmp_path / "r")

    with pytest.raises(SetupError, match=r"fetch\(\) of rlm_graph"):
        async with executor.attached(None):
            pass
    assert list((tmp_path / "r").iterdir()) == []


def test_an_altered_runtime_is_refused_and_fetched_anew(tmp_path: Path, pyodide_store: Path) -> None:
    folder = runtime.fetch(tmp_path, str(pyodide_store / runtime.FOLDER))
    (folder / "pyodide.mjs").write_text("// altered")

    with pytest.raises(SetupError, match="its hash differs"):
        runtime.installed(tmp_path)
    assert runtime.fetch(tmp_path, str(pyodide_store / runtime.FOLDER)) == folder
    assert runtime.installed(tmp_path) == folder


def test_the_snapshot_is_made_once_and_again_if_it_was_altered(pyodide_store: Path) -> None:
    first = image.image(pyodide_store)
    snapshot = first.folder / image.SNAPSHOT
    made = snapshot.stat().st_ino

    assert image.image(pyodide_store) == first
    assert snapshot.stat().st_ino == made
    with snapshot.open("r+b") as file:
        file.write(b"altered")
    assert image.image(pyodide_store) == first
    assert not snapshot.read_bytes().startswith(b"altered")


def test_making_the_snapshot_leaves_no_cache_of_denos_on_the_machine(pyodide_store: Path) -> None:
    image.image(pyodide_store).make_snapshot()

    assert not Path(ENVIRONMENT["DENO_DIR"]).exists()


def test_what_is_not_the_known_package_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "pyodide.tgz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(__file__, "package/pyodide.mjs")
    (tmp_path / "package").mkdir()
    for name in runtime.FILES:
        (tmp_path / "package" / name).write_text("other")

    for source in (package, tmp_path):
        with pytest.raises(SetupError, match="its hash differs"):
            runtime.fetch(tmp_path / "store", str(source))
    with pytest.raises(SetupError, match="cannot be read"):
        runtime.fetch(tmp_path / "store", str(tmp_path / "nothing.tgz"))
    assert not (tmp_path / "store").exists()


def test_an_address_is_fetched_and_checked(tmp_path: Path, served: str) -> None:
    with pytest.raises(SetupError, match="its hash differs"):
        runtime.fetch(tmp_path / "store", f"{served}/package.tgz")
    with pytest.raises(SetupError, match="404"):
        runtime.fetch(tmp_path / "store", f"{served}/nothing")


def test_without_npm_it_says_what_to_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SetupError, match="source="):
        runtime.fetch(tmp_path / "store")


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm command")
def test_npm_is_asked_as_it_is_configured_and_what_it_brings_is_checked(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", served)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    package = tmp_path / "served" / "package.tgz"
    (tmp_path / "package.json").write_text(json.dumps({"name": "pyodide", "version": runtime.VERSION}))
    with tarfile.open(package, "w:gz") as archive:
        archive.add(tmp_path / "package.json", "package/package.json")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    version = {
        "name": "pyodide", "version": runtime.VERSION,
        "dist": {"tarball": f"{served}/package.tgz", "integrity": integrity},
    }  # fmt: skip
    told = {"name": "pyodide", "dist-tags": {"latest": runtime.VERSION}, "versions": {runtime.VERSION: version}}

    with pytest.raises(SetupError, match=r"npm could not fetch Pyodide: .*404"):
        runtime.fetch(tmp_path / "store")
    (tmp_path / "served" / "pyodide").write_text(json.dumps(told))
    with pytest.raises(SetupError, match="this is not the package of Pyodide"):
        runtime.fetch(tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server that has a file which is no package."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(__file__, folder / "package.tgz")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]  # as the server hands them

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
