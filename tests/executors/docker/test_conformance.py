"""The Docker executor shows every behaviour on the list."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from rlm_graph.executors.conformance import ExecutorConformance, Notebook
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.state import ReplHandle
from tests.executors.docker.conftest import settings

pytestmark = pytest.mark.docker

LAST = 1_000_000
EMPTY = """
import os, shutil
for entry in os.scandir():
    shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.remove(entry)
os._exit(0)
"""


@pytest.fixture(scope="module")
def container(docker_image: str) -> Iterator[ReplHandle]:
    """A container that serves one test after another, for starting it is what takes long."""
    executor = DockerExecutor(settings(docker_image))

    async def start() -> ReplHandle:
        async with executor.attached(None) as repl:
            return repl.handle

    handle = asyncio.run(start())
    yield handle
    asyncio.run(executor.close(handle))


class TestConformance(ExecutorConformance):
    @pytest.fixture
    def executor(self, docker_image: str) -> DockerExecutor:
        return DockerExecutor(settings(docker_image))

    @pytest_asyncio.fixture
    async def notebook(self, executor: DockerExecutor, container: ReplHandle) -> AsyncIterator[Notebook]:
        """A REPL with an interpreter that has run nothing, and with no file."""
        async with executor.attached(container, name=container.id) as repl:
            await repl.kill()
            # The same cell again would only be told what became of it.
            emptied = await Notebook(repl).run(f"{EMPTY}# {secrets.token_hex()}", number=LAST)
            assert emptied.status == "killed"
            yield Notebook(repl)
