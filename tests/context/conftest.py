"""A store, a web server on loopback, and rights that root does not have."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.settings import ContextSettings


@pytest.fixture
def store(tmp_path: Path) -> ContextStore:
    return ContextStore(tmp_path / "store")


@pytest.fixture
def small_store(tmp_path: Path) -> ContextStore:
    """A store that allows little of everything."""
    settings = ContextSettings(max_memory_bytes=1_000_000, max_download_bytes=100_000, max_redirects=2)
    return ContextStore(tmp_path / "store", settings)


@pytest.fixture
def entries(tmp_path: Path) -> Callable[[], list[str]]:
    """What lies in the store's folder, half-written or not."""
    return lambda: sorted(os.listdir(tmp_path / "store")) if (tmp_path / "store").exists() else []


@pytest.fixture
def make_folder() -> Callable[[Path, dict[str, str | bytes]], Path]:
    """Write files, by their path from a folder, and return the folder."""

    def make(folder: Path, files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return make


@dataclass
class Web:
    """What a server answers, by path: status, headers, body."""

    url: str
    pages: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    accepted: list[str | None] = field(default_factory=list)
    """The packings that each request asked for."""
    passwords: list[str] = field(default_factory=list)

    def serve(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> str:
        self.pages[path] = (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
        return self.url + path


@pytest.fixture
def web() -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            served.accepted.append(self.headers["Accept-Encoding"])
            if "Authorization" in self.headers:
                served.passwords.append(self.headers["Authorization"])
            status, headers, body = served.pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Web(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield served
        server.shutdown()
        thread.join()


NOBODY = 65534


@pytest.fixture
def without_rights() -> Callable[[], AbstractContextManager[None]]:
    """Enter a block without root's right to read everything, if this is root."""

    @contextmanager
    def dropped() -> Iterator[None]:
        user = os.geteuid()
        if user != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(user)

    return dropped


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that another user can reach and write to, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="rlm-graph-public-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)
