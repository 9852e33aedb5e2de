"""REPLs that are listed and swept."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest
from typer.testing import CliRunner

from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.executors.docker.container import container_name
from rlm_graph.executors.host.bundle import version
from rlm_graph.executors.host.sandboxes import Sandbox
from rlm_graph.executors.sandbox_owners import find, sweep
from rlm_graph.state import ReplHandle
from tests.executors.docker.conftest import exists, settings
from tests.executors.docker.proxy import Proxy

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
        owners = {sandbox.owner for sandbox in swept if sandbox.state == "idle"}
    await sweep([mine], older_than_s=0)

    assert states == {"1": "attached", "2": "idle", "3": "unknown"}
    assert none == []
    assert {sandbox.handle.id[-1] for sandbox in swept} == {"2", "3"}
    assert left == ["00000000000000a1"]
    assert all(owner.endswith(f":{os.getpid()}") for owner in owners)
    assert await mine.sandboxes() == []


OTHER = """
import asyncio, sys
from rlm_graph.executors.host.bundle import version
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
    with (tmp_path / "rlm_graph" / "executors" / "sandbox" / "frames.py").open("a") as source:
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


ONLY_LABELS, AND_NAME = b"%22rlm-graph.repl%22%5D", b"%2C%22name%22%3A%5B%22rlm-graph-00000000000000c%22%5D"


async def test_the_commands_list_and_sweep_containers(
    docker_image: str, client: docker.APIClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = DockerExecutor(settings(docker_image))

    async def command(*arguments: str) -> dict[str, Any]:
        from rlm_graph.cli.app import app

        done = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--json"])
        assert done.exit_code == 0, done.output
        return {row["sandbox"]: row for row in json.loads(done.stdout) if row["kind"] == "docker"}

    monkeypatch.setenv("RLM_DATA_DIR", str(tmp_path))
    async with (
        Proxy(replaced=(ONLY_LABELS, ONLY_LABELS + AND_NAME)) as proxy,  # so that nobody else's are swept
        executor.attached(None, name="00000000000000c1") as used,
        executor.attached(None, name="00000000000000c2") as left,
    ):
        await left.detach()
        monkeypatch.setenv("DOCKER_HOST", proxy.url)
        listed = await command("ps", "--sandboxes")
        none = await command("sweep", "--older-than", "1h")
        swept = await command("sweep", "--older-than", "0s")
        lived_on = [exists(client, repl.handle.address) for repl in (used, left)]
    await executor.close(used.handle)

    assert {name: row["state"] for name, row in listed.items()} == {used.handle.id: "attached", left.handle.id: "idle"}
    assert none == {}
    assert list(swept) == [left.handle.id]
    assert lived_on == [True, False]
