"""A daemon on another machine, reached as Docker's own tools do: each connection is an ssh with a command there.

It is the user's own ssh, with its keys, agent and settings. The SDK's way wants another library, and leaves processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import subprocess
import tempfile
import threading
from typing import Any
from urllib.parse import urlsplit

import requests.adapters
import urllib3
import urllib3.connection

from rlm_graph.executors.host.stream import Writer

BASE_URL = "tcp://localhost:2375"
"""What the SDK takes the daemon's address for; nobody connects to it."""
_END_S = 10.0


def command(url: str) -> list[str]:
    """Return the command whose input and output are a connection to the daemon at `ssh://[USER@]HOST[:PORT]`."""
    parts = urlsplit(url)
    port = ["-p", str(parts.port)] if parts.port else []
    user = ["-l", parts.username] if parts.username else []
    there = ["docker", "system", "dial-stdio"]
    return ["ssh", *user, *port, "-T", "-o", "BatchMode=yes", "--", str(parts.hostname), *there]


async def dial(url: str, *, limit: int) -> tuple[asyncio.StreamReader, Writer]:
    """Open a connection. It ends when its writer is closed, and the process with it."""
    process = await asyncio.create_subprocess_exec(
        *command(url), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        limit=limit, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process.stdout, _Writer(process)


class SshAdapter(requests.adapters.HTTPAdapter):
    """Carries what the SDK asks over such connections, and keeps them open for the next."""

    def __init__(self, url: str, *, timeout_s: float, connections: int) -> None:
        self._pool = _Pool(url, timeout_s, connections)
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> urllib3.HTTPConnectionPool:
        """Return the one pool: see `HTTPAdapter`."""
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        """Return the path: no proxy is asked."""
        return str(request.path_url)

    def close(self) -> None:
        """End every connection."""
        self._pool.close()
        super().close()


class _Tunnel:
    """An ssh process, and the end of it that is ours."""

    def __init__(self, url: str) -> None:
        self.sock, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed when it ends
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command(url),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._errors,
                    start_new_session=True,
                )
            except OSError:
                self.sock.close()
                self._errors.close()
                raise

    def said(self) -> str:
        """Return the last line of what ssh complains of."""
        self._errors.seek(0)
        return (self._errors.read().decode(errors="replace").strip().splitlines() or ["ssh has ended"])[-1]

    def ended(self) -> bool:
        """Whether it is over, as it is when the socket was closed."""
        if self._process.poll() is None:
            return False
        self._errors.close()
        return True

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, url: str, timeout_s: float, connections: int) -> None:
        super().__init__("localhost", timeout=timeout_s, maxsize=connections)
        self._url = url
        self._lock = threading.Lock()
        self._tunnels: list[_Tunnel] = []

    def open_tunnel(self) -> _Tunnel:
        tunnel = _Tunnel(self._url)
        with self._lock:
            self._tunnels = [other for other in self._tunnels if not other.ended()] + [tunnel]
        return tunnel

    def _new_conn(self) -> _Connection:
        return _Connection(self)

    def close(self) -> None:
        super().close()
        with self._lock:
            for tunnel in self._tunnels:
                tunnel.end()
            self._tunnels.clear()


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, pool: _Pool) -> None:
        super().__init__("localhost")
        self._pool = pool

    def connect(self) -> None:
        self._ssh = self._pool.open_tunnel()
        # Closed with the connection, or after the answer that may still be read from it; then ssh ends by itself.
        self.sock = self._ssh.sock

    def request(self, *given: Any, **named: Any) -> None:
        try:
            return super().request(*given, **named)
        except ConnectionError:
            pass
        raise self._broken()

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # so it is in urllib3
        try:
            return super().getresponse()
        except ConnectionError:
            pass
        raise self._broken()

    def _broken(self) -> ConnectionResetError:
        # Outside of the handler, so that no other reason lies beneath it.
        return ConnectionResetError(errno.ECONNRESET, self._ssh.said())


class _Writer:
    """The input of an ssh process, which ends with it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        self._process = process
        self._input = process.stdin

    def write(self, data: bytes) -> None:
        self._input.write(data)

    async def drain(self) -> None:
        await self._input.drain()

    def close(self) -> None:
        self._input.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def wait_closed(self) -> None:
        await self._process.wait()
