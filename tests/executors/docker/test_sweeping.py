"""REPLs that are listed and swept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from rlm_graph.executors import create_executor
from rlm_graph.executors.bundle import version
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.executors.docker.container import container_name
from rlm_graph.executors.keepers import find, sweep
from rlm_graph.executors.sandboxes import Sandbox
from rlm_graph.settings import DockerSettings
from rlm_graph.state import ReplHandle
from tests.executors.docker.conftest import settings

pytestmark = pytest.mark.docker

ROOT = Path(__file__).resolve().parents[3]


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


OTHER = """
import asyncio, sys
from rlm_graph.executors.bundle import version
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.settings import DockerSettings

async def main():
    async with DockerExecutor(DockerSettings(image=sys.argv[1], pull=False)).attached(None, name=sys.argv[2]):
        print("attached", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_a_host_with_another_version_uses_is_not_swept(docker_image: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "rlm_graph", tmp_path / "rlm_graph", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "rlm_graph" / "executors" / "worker" / "frames.py").open("a") as source:
        source.write("# of another version\n")
    mine = Mine(DockerExecutor(settings(docker_image)), {"00000000000000b1"})

    with subprocess.Popen(
        [sys.executable, "-c", OTHER, docker_image, "00000000000000b1"],
        stdout=subprocess.PIPE, text=True, cwd=tmp_path,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "attached\n"
        used = await mine.sandboxes()
        none = await sweep([mine], older_than_s=0)
        other.kill()
    swept = await sweep([mine], older_than_s=3600)

    assert [sandbox.state for sandbox in used] == ["attached"]
    assert used[0].handle.worker_version != version()
    assert none == []
    assert [sandbox.state for sandbox in swept] == ["orphaned"]
    assert await mine.sandboxes() == []


def test_it_is_chosen_by_name_and_by_settings() -> None:
    assert isinstance(create_executor("docker"), DockerExecutor)
    assert isinstance(create_executor(DockerSettings(cell_timeout_s=7)), DockerExecutor)
    assert create_executor(DockerSettings(cell_timeout_s=7)).cell_timeout_s == 7
