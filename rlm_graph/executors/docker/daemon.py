"""A Docker daemon: how it is found, and how what it says becomes our errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from rlm_graph.errors import ExecutorError, Hint, SetupError
from rlm_graph.executors.docker.endpoint import Endpoint, find_endpoint
from rlm_graph.executors.docker.stream import ExecOutput, open_exec
from rlm_graph.executors.host.stream import LinkLost, Writer

if TYPE_CHECKING:
    from docker import APIClient

TIMEOUT_S = 120
"""Seconds that the daemon may be silent: it extracts a gigabyte in that time."""
CONNECTIONS = 32
"""Kept open to it, for REPLs that run at once."""

GONE = "its container has ended or was removed; resume the run, which rebuilds it in a new one"

T = TypeVar("T")


class Daemon:
    """A connection to a daemon. Every call of the SDK runs in a thread, for it blocks."""

    def __init__(self, address: str | None = None) -> None:
        """By default its address is what `DOCKER_HOST` says, or the context that the docker command uses."""
        self._address = address
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        _all.add(self)
        self._endpoint = Endpoint("")

    async def call(self, work: Callable[[APIClient], T]) -> T:
        """Do something with the SDK's client.

        Raises `SetupError` without the SDK, or if no daemon answers to the first call; `DaemonLost` if none does later;
        what `docker.errors.APIError` means is for the caller to say.
        """
        return await asyncio.to_thread(self.call_now, work)

    async def open_exec(self, container: str, command: list[str]) -> tuple[ExecOutput, Writer]:
        """Start a command as root in a running container, and return its output and input.

        Raises `ConnectionRefusedError` if the container does not run, `DaemonLost` if the daemon does not answer.
        """
        import docker.errors

        try:
            made = await self.call(
                lambda client: client.exec_create(container, command, stdin=True, user="0:0", environment=_FIXED)
            )
            version = await self.call(lambda client: str(client.api_version))
            return await open_exec(self._endpoint, version, made["Id"])
        except docker.errors.APIError as error:
            if error.status_code in (404, 409):
                raise ConnectionRefusedError(GONE) from error
            raise ExecutorError(f"Docker cannot start a command in the container: {words(error)}") from error
        except ConnectionRefusedError as error:
            await self.call(lambda client: client.ping())  # is it the container that is gone, or the daemon?
            raise ConnectionRefusedError(GONE) from error
        except (TimeoutError, OSError) as error:
            raise self._lost(error) from error

    def call_now(self, work: Callable[[APIClient], T]) -> T:
        """See `call`. Blocks."""
        import requests

        with self._lock:
            if self._client is None:
                self._client = self._connect()
                weakref.finalize(self, _close, self._client, os.getpid())
            client = self._client
        try:
            return work(client)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise self._lost(error) from error

    def _connect(self) -> APIClient:
        try:
            import docker
        except ImportError as error:
            raise SetupError("the docker executor needs Docker's SDK", hint=Hint("install", "docker")) from error
        self._endpoint = find_endpoint(self._address)
        try:
            return _client(self._endpoint)
        except (docker.errors.DockerException, OSError) as error:
            raise SetupError(
                f"no Docker daemon answers at {self._endpoint.url}: {_reason(error)}; "
                "start one, or name another by DOCKER_HOST"
            ) from error

    def forget(self) -> None:
        """Have no connection any more, in a forked process: those that there are belong to its parent."""
        if self._client is not None:
            _inherited.append(self._client)  # collected, it would end what the parent works with
        self._client, self._lock = None, threading.Lock()

    def _lost(self, error: Exception) -> DaemonLost:
        return DaemonLost(
            f"the Docker daemon at {self._endpoint.url} does not answer: {_reason(error)}; "
            "start it, then resume the run"
        )


_all: weakref.WeakSet[Daemon] = weakref.WeakSet()
_inherited: list[APIClient] = []


def _close(client: APIClient, process: int) -> None:
    if os.getpid() == process:
        client.close()


def _after_fork() -> None:
    for daemon in list(_all):
        daemon.forget()


os.register_at_fork(after_in_child=_after_fork)


class DaemonLost(LinkLost):
    """The daemon answers no more. What its containers do is not known."""


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Within it, what the daemon refuses leaves as an `ExecutorError` that says what could not be done."""
    import docker.errors

    try:
        yield
    except docker.errors.APIError as error:
        raise ExecutorError(f"Docker cannot {what}: {words(error)}") from error


def words(error: Any) -> str:
    """Return what the daemon says of an error."""
    return str(error.explanation or error).strip()


_FIXED = {"PYTHONHASHSEED": "0"}
"""Without it the relay would start a second time."""


def _client(endpoint: Endpoint) -> APIClient:
    from docker import APIClient

    url = urlsplit(endpoint.url)
    if url.scheme == "ssh":
        return _client_by_ssh(endpoint.url)
    if url.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as trial:  # the SDK leaves one open where nobody answers
            trial.connect(url.path)
    return APIClient(
        base_url=endpoint.url, tls=endpoint.tls or False, version="auto", timeout=TIMEOUT_S, max_pool_size=CONNECTIONS
    )


def _client_by_ssh(url: str) -> APIClient:
    from docker import APIClient
    from docker.constants import DEFAULT_DOCKER_API_VERSION

    from rlm_graph.executors.docker import ssh

    adapter = ssh.SshAdapter(url, timeout_s=TIMEOUT_S, connections=CONNECTIONS)

    def client(version: str) -> APIClient:
        made = APIClient(base_url=ssh.BASE_URL, version=version, timeout=TIMEOUT_S)
        made.mount("http://", adapter)
        return made

    try:
        spoken = client(DEFAULT_DOCKER_API_VERSION).version(api_version=False)["ApiVersion"]
        return client(str(spoken))
    except BaseException:
        adapter.close()
        raise


def _reason(error: BaseException) -> str:
    """Return the innermost reason: the SDK's own words nest those of three libraries."""
    seen: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in seen:
        seen.append(inner)
        nested = next((argument for argument in inner.args if isinstance(argument, BaseException)), None)
        inner = inner.__cause__ or inner.__context__ or nested
    system = next((e for e in reversed(seen) if isinstance(e, OSError) and e.strerror), None)
    return str(system.strerror) if system is not None else str(error)
