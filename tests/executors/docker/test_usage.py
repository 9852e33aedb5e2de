"""What a cell used, as its container tells."""

from __future__ import annotations

import pytest

from rlm_graph.executors.docker import DockerExecutor
from tests.executors.docker.conftest import notebook, settings

pytestmark = pytest.mark.docker


async def test_a_cell_tells_what_its_container_used(docker_image: str) -> None:
    async with notebook(DockerExecutor(settings(docker_image, bash=True))) as book:
        idle = await book.run("1")
        busy = await book.run("b = b'x' * (100 << 20)\nsum(range(5_000_000))")
        other = await book.run("python3 -S -c 'sum(range(5_000_000))'", language="bash")

    assert busy.cpu_s > idle.cpu_s
    assert other.cpu_s > idle.cpu_s, "programs that it starts count too"
    assert busy.peak_memory_bytes >= idle.peak_memory_bytes + (90 << 20)
    assert idle.read_bytes is not None
    assert idle.write_bytes is not None
