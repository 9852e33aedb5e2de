"""REPLs that are listed and swept."""

from __future__ import annotations

import os

import docker
import pytest

from rlm_graph.executors import create_executor
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.executors.docker.container import container_name
from rlm_graph.executors.keepers import find, sweep
from rlm_graph.executors.sandboxes import Sandbox
from rlm_graph.settings import DockerSettings
from rlm_graph.state import ReplHandle
from tests.executors.docker.conftest import settings

pytestmark = pytest.mark.docker


class Mine:
    """Of a keeper's sandboxes, those of this test: others run on the same daemon."""

    def __init__(self, keeper: DockerExecutor, ids: set[str]) -> None:
        self._keeper = keeper
        self._ids = ids

    async def sandboxes(self) -> list[Sandbox]:
        return [sandbox for sandbox in await self._keeper.sandboxes() if sandbox.handle.id in self._ids]

    async def close(self, handle: ReplHandle) -> None:
        await self._keeper.close(handle)


async def test_what_nobody_uses_is_swept_and_what_somebody_uses_is_not(
    docker_image: str, client: docker.APIClient
) -> None:
    executor = DockerExecutor(settings(docker_image))
    ids = {"00000000000000a1", "00000000000000a2", "00000000000000a3"}
    mine = Mine(executor, ids)
    client.create_container(
        docker_image, "true", name=container_name("00000000000000a3"),
        labels={"rlm-graph": "1", "rlm-graph.repl": "00000000000000a3"},
    )  # fmt: skip
    async with executor.attached(None, name="00000000000000a1"):
        async with executor.attached(None, name="00000000000000a2"):
            pass
        states = {sandbox.handle.id[-1]: sandbox.state for _, sandbox in await find([mine])}
        none = await sweep([mine], older_than_s=3600)
        swept = await sweep([mine], older_than_s=0)
        left = [sandbox.handle.id for sandbox in await mine.sandboxes()]
        hosts = {sandbox.host for sandbox in swept if sandbox.state == "idle"}
    await sweep([mine], older_than_s=0)

    assert states == {"1": "attached", "2": "idle", "3": "unknown"}
    assert none == []
    assert {sandbox.handle.id[-1] for sandbox in swept} == {"2", "3"}
    assert left == ["00000000000000a1"]
    assert all(host.endswith(f":{os.getpid()}") for host in hosts)
    assert await mine.sandboxes() == []


def test_it_is_chosen_by_name_and_by_settings() -> None:
    assert isinstance(create_executor("docker"), DockerExecutor)
    assert isinstance(create_executor(DockerSettings(cell_timeout_s=7)), DockerExecutor)
    assert create_executor(DockerSettings(cell_timeout_s=7)).cell_timeout_s == 7
