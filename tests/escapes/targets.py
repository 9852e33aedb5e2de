"""What the attacks aim at: files, servers, a process and a context. Each tells if it was reached."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import selectors
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from rlm_graph.context.store import ContextStore
from rlm_graph.executors.machine.fork_server import FORK_SERVER

TOKEN_START = "sk-canary-"
PAGE = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\ncanary"


class Servers:
    """Servers on loopback and on Unix sockets that note whoever comes."""

    def __init__(self, folder: Path) -> None:
        self.hits: list[str] = []
        self.abstract = f"rlm-canary-{secrets.token_hex(8)}"
        self.unix, self.unix_datagram = str(folder / "stream"), str(folder / "datagram")
        self._sockets = {
            "TCP": socket.create_server(("127.0.0.1", 0)),
            "UDP": _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "Unix": _bound(socket.AF_UNIX, socket.SOCK_STREAM, self.unix),
            "Unix datagram": _bound(socket.AF_UNIX, socket.SOCK_DGRAM, self.unix_datagram),
            "abstract Unix": _bound(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self.abstract),
        }
        self.tcp = self._sockets["TCP"].getsockname()[1]
        self.udp = self._sockets["UDP"].getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._wake, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ, "")
        for name, server in self._sockets.items():
            server.setblocking(False)
            self._selector.register(server, selectors.EVENT_READ, name)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                server = key.fileobj
                assert isinstance(server, socket.socket)
                if not key.data:
                    return
                self.hits.append(key.data)
                with contextlib.suppress(OSError):
                    if server.type == socket.SOCK_DGRAM:
                        server.recv(65536)
                    else:
                        client, _ = server.accept()
                        client.settimeout(5)
                        with client:
                            client.sendall(PAGE)
                            client.shutdown(socket.SHUT_WR)
                            client.recv(65536)

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # they are sockets
        self._wake.close()
        self._selector.close()


def _bound(family: int, kind: int, address: object) -> socket.socket:
    server = socket.socket(family, kind)
    server.bind(address)  # type: ignore[arg-type]  # an address of its family
    if kind == socket.SOCK_STREAM:
        server.listen()
    return server


class Targets:
    """Everything that an attack must not reach. `changes()` says what was; `reset()` puts it right."""

    def __init__(self, folder: Path) -> None:
        self.token = TOKEN_START + secrets.token_hex(12)
        self._folder = folder
        self.outside = folder / "outside"
        self.secret = self.outside / "secret.txt"
        sockets = folder / "sockets"
        sockets.mkdir()
        self.servers = Servers(sockets)
        self.store = ContextStore(folder / "contexts")
        self.context = self.store.take(f"The context is there to be read. {secrets.token_hex(8)}")
        self.context_folder = self.store.folder(self.context)
        self._contexts = _snapshot(self.context_folder)
        self._kept = folder / "kept"
        shutil.copytree(self.context_folder, self._kept)
        self._victim: subprocess.Popen[bytes] | None = None
        self.reset()

    def places(self) -> dict[str, object]:
        """The names by which attacks know them."""
        assert self._victim is not None
        return {
            "SECRET": str(self.secret), "FOLDER": str(self.outside), "HOME": os.path.expanduser("~"),
            "TCP": self.servers.tcp, "UDP": self.servers.udp, "UNIX": self.servers.unix,
            "UNIX_DATAGRAM": self.servers.unix_datagram, "ABSTRACT": self.servers.abstract,
            "VICTIM": self._victim.pid, "HOST": os.getpid(), "FORK_SERVER": FORK_SERVER.pid or os.getpid(),
            "CONTEXT": str(self.context_folder / "text"),
            "TOKEN_START": TOKEN_START, "DEVICES": ["/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1"],
        }  # fmt: skip

    def changes(self) -> list[str]:
        """What has been reached or changed since the last reset."""
        assert self._victim is not None
        found = [f"{name} was reached" for name in self.servers.hits]
        found += _differences(self._files, _snapshot(self.outside))
        found += [f"context: {change}" for change in _differences(self._contexts, _snapshot(self.context_folder))]
        if self._victim.poll() is not None:
            found.append(f"another process was ended: {self._victim.returncode}")
        return found

    def reset(self, *, breached: bool = False) -> None:
        """Put everything back as it was. After a breach the process is a new one: the old may yet die of it."""
        self.servers.hits.clear()
        if _snapshot(self.context_folder) != self._contexts:
            shutil.rmtree(self.context_folder)
            shutil.copytree(self._kept, self.context_folder)
        shutil.rmtree(self.outside, ignore_errors=True)
        self.outside.mkdir(mode=0o755)
        self.secret.write_text(self.token)
        self.secret.chmod(0o644)
        (self.outside / "canary_module.py").write_text(f"TOKEN = {self.token!r}\n")
        with contextlib.closing(sqlite3.connect(self.outside / "canary.sqlite")) as database:
            database.execute("create table t (a)")
            database.execute("insert into t values (?)", (self.token,))
            database.commit()
        self._files = _snapshot(self.outside)
        if self._victim is not None and (breached or self._victim.poll() is not None):
            self._victim.kill()
            self._victim.communicate()
            self._victim = None
        if self._victim is None:
            self._victim = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()", self.token],
                stdin=subprocess.PIPE,
                env={"OPENAI_API_KEY": self.token},
            )

    def close(self) -> None:
        self.servers.close()
        if self._victim is not None:
            self._victim.kill()
            self._victim.communicate()


def _snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    return dict(_entries(folder))


def _entries(folder: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    for path in sorted(folder.rglob("*")):
        if path.name == "__pycache__" or path.parent.name == "__pycache__":
            continue
        found = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        yield path.name, (found.st_mode, found.st_uid, found.st_mtime_ns, content, tuple(os.listxattr(path)))


def _differences(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> list[str]:
    return [
        f"{name} was {'removed' if name not in after else 'made' if name not in before else 'changed'}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
