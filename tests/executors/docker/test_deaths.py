"""Hosts and containers that go away. Nothing waits for ever, and nothing that is there is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.conformance import Host, Notebook
from rlm_graph.executors.conformance.notebook import until
from rlm_graph.executors.docker import DockerExecutor, lifecycle
from rlm_graph.executors.docker.container import container_name
from rlm_graph.state import ReplHandle
from tests.executors.docker.conftest import exists, settings, volume_of, volumes

pytestmark = pytest.mark.docker


ROOT = Path(__file__).resolve().parents[3]
NAME = "feedbeefcafe0002"

HOST = """
import asyncio, sys
from rlm_graph.executors.base import CallResult
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.settings import DockerSettings
from rlm_graph.state import Cell

async def serve(call):
    print("asked", call.arguments["prompt"], flush=True)
    if call.arguments["prompt"] == "b":
        await asyncio.Event().wait()
    return CallResult(value="from the first host")

async def main():
    image, name, code = sys.argv[1:]
    async with DockerExecutor(DockerSettings(image=image, pull=False)).attached(None, name=name) as repl:
        await repl.run(Cell(code="before = 'kept'"), number=1, serve=serve, timeout_s=30)
        print("ready", repl.handle.address, flush=True)
        await repl.run(Cell(code=code), number=2, serve=serve, timeout_s=30)

asyncio.run(main())
"""


@pytest.fixture
def executor(docker_image: str) -> DockerExecutor:
    return DockerExecutor(settings(docker_image))


async def test_a_repl_outlives_a_host_that_was_killed(executor: DockerExecutor, docker_image: str) -> None:
    code = "replies = [llm_query('a'), llm_query('b'), llm_query('c')]\nprint(before, replies)"
    with subprocess.Popen(
        [sys.executable, "-c", HOST, docker_image, NAME, code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as first:
        assert first.stdout is not None
        lines = [first.stdout.readline() for _ in range(3)]
        first.kill()
    second = Host(lambda call: f"{call.arguments['prompt']} from the second")

    orphan = next(found for found in await executor.sandboxes() if found.handle.id == NAME)
    async with executor.attached(None, name=NAME) as repl:
        assert repl.cells_done == 1
        joined = await Notebook(repl).run(code, serve=second)
    await executor.close(repl.handle)

    assert lines[1:] == ["asked a\n", "asked b\n"]
    assert joined.stdout == "kept ['from the first host', 'b from the second', 'c from the second']\n"
    assert orphan.state == "orphaned"


@pytest.mark.parametrize("end", ["kill", "remove"])
async def test_a_container_that_ends_in_a_cell_is_an_error_and_the_next_host_gets_a_fresh_one(
    executor: DockerExecutor, client: docker.APIClient, end: str
) -> None:
    asked: list[HostCall] = []

    async def never(call: HostCall) -> CallResult:
        asked.append(call)
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async with executor.attached(None) as repl:
        running = asyncio.create_task(Notebook(repl).run("llm_query('begun')", serve=never))
        await until(lambda: bool(asked))
        if end == "kill":
            client.kill(repl.handle.address)
        else:
            client.remove_container(repl.handle.address, force=True, v=True)
        with pytest.raises(ExecutorError, match="resume the run"):
            await running
    async with executor.attached(repl.handle, name=repl.handle.id) as fresh:
        assert fresh.cells_done == 0
        assert (await Notebook(fresh).run("1 + 1")).value == "2"
    await executor.close(fresh.handle)

    assert fresh.handle.id == repl.handle.id
    assert fresh.handle.address != repl.handle.address


MAKER = """
import sys
from rlm_graph.executors.docker import lifecycle
from rlm_graph.executors.docker.daemon import Daemon
from rlm_graph.settings import DockerSettings

image, name = sys.argv[1:]
settings = DockerSettings(image=image, pull=False)
print(Daemon().call_now(lambda client: lifecycle.create(client, name, image, settings)))
"""


async def test_a_container_whose_maker_died_before_it_started_it_is_not_waited_for(
    executor: DockerExecutor, client: docker.APIClient, docker_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", MAKER, docker_image, "feedbeefcafe0003"]
    made = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=100).stdout.strip()

    try:
        with monkeypatch.context() as patched:
            patched.setattr(lifecycle, "LOOK_S", None)  # who would wait, fails
            found = lifecycle.find(client, "feedbeefcafe0003")
        left = next(found for found in await executor.sandboxes() if found.handle.address == made)
        async with executor.attached(None, name="feedbeefcafe0003") as repl:
            assert (await Notebook(repl).run("1 + 1")).value == "2"
        await executor.close(repl.handle)
        assert not exists(client, made)
    finally:
        lifecycle.remove(client, made)

    assert (found, left.state) == (made, "dead")


async def test_closing_leaves_no_container_and_no_volume(executor: DockerExecutor, client: docker.APIClient) -> None:
    async with executor.attached(None) as repl:
        volume = volume_of(client, repl.handle.address)
        assert volume in volumes(client)
    await executor.close(repl.handle)

    assert not exists(client, repl.handle.address)
    assert volume not in volumes(client)


async def test_a_repl_without_a_host_ends_itself(docker_image: str, client: docker.APIClient) -> None:
    async with DockerExecutor(settings(docker_image, idle_timeout_s=0.2)).attached(None) as repl:
        volume = volume_of(client, repl.handle.address)

    await until(lambda: not exists(client, repl.handle.address) and volume not in volumes(client))


async def test_a_container_that_has_the_name_and_is_not_ours_is_left_alone(
    executor: DockerExecutor, client: docker.APIClient, docker_image: str
) -> None:
    name = container_name("0" * 16)
    other = client.create_container(docker_image, "true", name=name)["Id"]
    try:
        with pytest.raises(SetupError, match=f"docker rm -f {name}"):
            async with executor.attached(None, name="0" * 16):
                pass
        await executor.close(ReplHandle(kind="docker", id="0" * 16, address=other, worker_version=""))
        assert exists(client, other)
    finally:
        client.remove_container(other)
