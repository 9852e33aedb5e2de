"""What the tests of the Docker executor share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import docker
import pytest

from rlm_graph.executors.conformance import Notebook
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.settings import DockerSettings


@pytest.fixture(scope="session")
def client() -> Iterator[docker.APIClient]:
    """The tests' own way to the daemon."""
    client = docker.APIClient(version="auto")
    yield client
    client.close()


def settings(image: str, **given: Any) -> DockerSettings:
    return DockerSettings(image=image, pull=False, **given)


@contextlib.asynccontextmanager
async def notebook(executor: DockerExecutor) -> AsyncIterator[Notebook]:
    """A fresh REPL, closed in the end."""
    async with executor.attached(None) as repl:
        yield Notebook(repl)
    await executor.close(repl.handle)


def exists(client: docker.APIClient, container: str) -> bool:
    try:
        client.inspect_container(container)
    except docker.errors.NotFound:
        return False
    return True


def volume_of(client: docker.APIClient, container: str) -> str:
    (volume,) = client.inspect_container(container)["Mounts"]
    return str(volume["Name"])


def volumes(client: docker.APIClient) -> set[str]:
    return {volume["Name"] for volume in client.volumes()["Volumes"] or ()}
