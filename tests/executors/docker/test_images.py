"""Images: those that are missing or of no use, and those with packages baked in."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import docker
import pytest
from typer.testing import CliRunner

from rlm_graph.cli.app import app
from rlm_graph.errors import SetupError
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.settings import DockerSettings
from tests.executors.docker.conftest import notebook, settings

pytestmark = pytest.mark.docker


def derived(client: docker.APIClient, recipe: str) -> str:
    name = "rlm-graph-test-derived:latest"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(recipe)
        tar.addfile(entry, io.BytesIO(recipe.encode()))
    packed.seek(0)
    lines = list(client.build(fileobj=packed, custom_context=True, tag=name, network_mode="none", decode=True, rm=True))
    assert not any("error" in line for line in lines), lines
    return name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"image": "rlm-graph-test-none:1", "pull": False}, "docker pull rlm-graph-test-none:1"),
        ({"image": "127.0.0.1:9/none:1"}, "cannot fetch it"),
        ({"image": "rlm-graph-test-none:1", "packages": ("a==1",)}, "rlm_graph.executors.docker.image"),
    ],
)
async def test_an_image_that_cannot_be_had_is_an_error_that_says_what_to_do(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        async with DockerExecutor(DockerSettings(**given)).attached(None):
            pass


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("os.remove('/usr/local/bin/python3')", "python3"),
        ("open('/usr/local/bin/python3', 'w').write('#!/bin/sh\\necho too old >&2\\nexit 1')", "too old"),
    ],
    ids=["none", "old"],
)
async def test_an_image_without_a_python_that_serves_is_named_with_the_reason(
    docker_image: str, client: docker.APIClient, script: str, words: str
) -> None:
    prepare = f"import os; p = '/usr/local/bin/python3'; os.remove(p); open(p, 'w'); {script}"
    prepare += "; os.path.exists(p) and os.chmod(p, 0o755)"
    image = derived(client, f"FROM {docker_image}\nRUN {json.dumps(['python3', '-c', prepare])}\n")
    before = {one["Id"] for one in client.containers(all=True)}
    try:
        with pytest.raises(SetupError, match=f"{image}.*{words}.*3.9 or later"):
            async with DockerExecutor(settings(image)).attached(None, name="feedbeefcafe0003"):
                pass
        ours = [one for one in client.containers(all=True) if one["Id"] not in before and one["Image"] == image]
        assert ours == []
    finally:
        client.remove_image(image, force=True)


async def test_packages_are_baked_into_an_image_that_is_named_for_them(
    docker_image: str, client: docker.APIClient, tmp_path: Path
) -> None:
    pip = next(Path(__import__("ensurepip").__file__).parent.glob("_bundled/pip-*.whl"))
    base = with_pip(client, docker_image, pip)
    write_wheel(tmp_path / "wheels")
    command = ["docker", "build", "--image", base, "--wheels", str(tmp_path / "wheels"), "-p"]

    built = await asyncio.to_thread(CliRunner().invoke, app, [*command, "tiny==1.0"])
    try:
        assert built.exit_code == 0, built.stderr
        async with notebook(DockerExecutor(settings(base, packages=("tiny==1.0",)))) as book:
            assert (await book.run("import tiny\ntiny.WORD")).value == "'baked in'"
        unpinned = await asyncio.to_thread(CliRunner().invoke, app, [*command, "tiny"])
    finally:
        client.remove_image(built.stdout.strip() or base, force=True)
        client.remove_image(base, force=True)

    assert built.stdout.startswith("rlm-graph-sandbox:")
    assert "Successfully installed tiny-1.0" in built.stderr
    assert unpinned.exit_code == 2
    assert "packages" in unpinned.stderr


def with_pip(client: docker.APIClient, image: str, wheel: Path) -> str:
    """The image, with pip."""
    packed = io.BytesIO()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    with tarfile.open(fileobj=packed, mode="w") as tar, zipfile.ZipFile(wheel) as files:
        for name in files.namelist():
            entry = tarfile.TarInfo(f"usr/local/lib/{version}/site-packages/{name}")
            entry.size, entry.mode = files.getinfo(name).file_size, 0o644
            tar.addfile(entry, files.open(name))
    made = client.create_container(image, "true")["Id"]
    client.put_archive(made, "/", packed.getvalue())
    client.commit(made, "rlm-graph-test-pip", "latest")
    client.remove_container(made)
    return "rlm-graph-test-pip:latest"


def write_wheel(folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "WORD = 'baked in'\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
