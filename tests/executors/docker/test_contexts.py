"""How contexts come into a container."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import docker
import pytest

from rlm_graph.executors.conformance import Notebook, stored
from rlm_graph.executors.docker import DockerExecutor
from tests.executors.docker.conftest import notebook, settings

pytestmark = pytest.mark.docker


async def test_a_large_context_is_copied_once_and_read_by_code_alone(docker_image: str, tmp_path: Path) -> None:
    executor = DockerExecutor(settings(docker_image))
    reference = stored(tmp_path / "context", "0123456789abcde\n" * (200_000_000 // 16))

    async with executor.attached(None) as repl:
        book = Notebook(repl)
        await repl.add_context(1, reference, folder=tmp_path / "context")
        given = await book.run("len(context), context[-16:]")
        shutil.rmtree(tmp_path / "context")
        ended = await book.run("import os\nos._exit(1)")
    async with executor.attached(repl.handle) as repl:
        book = Notebook(repl)
        await repl.add_context(1, reference, folder=tmp_path / "context")  # the worker is another; the copy is there
        again = await book.run("len(context)")
        found = await book.run("import os\n[os.access('/rlm-graph/contexts', os.R_OK), os.listdir('.')]")
    await executor.close(repl.handle)

    assert given.value == "(200000000, '0123456789abcde\\n')"
    assert (ended.status, again.value) == ("killed", "200000000")
    assert found.value == "[False, []]"


async def test_a_copy_that_broke_off_is_made_again(docker_image: str, tmp_path: Path, client: docker.APIClient) -> None:
    reference = stored(tmp_path / "context", "whole")
    async with notebook(DockerExecutor(settings(docker_image))) as book:
        half = io.BytesIO()
        with tarfile.open(fileobj=half, mode="w") as tar:
            entry = tarfile.TarInfo(f"str-{reference.sha256}/text")
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"who"))
        client.put_archive(book.repl.handle.address, "/rlm-graph/contexts", half.getvalue())
        await book.repl.add_context(1, reference, folder=tmp_path / "context")

        assert (await book.run("context")).value == "'whole'"
