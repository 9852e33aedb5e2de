"""Where attacks run: what each executor calls its places, and what must not be there any more when a REPL is closed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from rlm_graph.errors import SetupError
from rlm_graph.executors.base import Executor
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.executors.docker.archive import CONTEXTS
from rlm_graph.executors.docker.container import HOME, SCRATCH, SOCKET
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.executors.pyodide import PyodideExecutor, image
from rlm_graph.executors.sandbox.supervisor.removal import remove_tree
from rlm_graph.settings import DockerSettings, LocalSettings, PyodideSettings
from rlm_graph.state import ReplHandle
from tests.escapes.e2b_site import E2BSite
from tests.escapes.targets import Targets

LOCAL = LocalSettings(memory_bytes=512 << 20, max_file_bytes=32 << 20, max_threads=32, idle_timeout_s=120)
"""Small, so that what is bounded is soon used up, and what a failed lane leaves soon ends."""


PYODIDE = PyodideSettings(
    memory_bytes=256 << 20, max_file_bytes=32 << 20, idle_timeout_s=120,
    store=Path(os.environ["TESTS_PYODIDE"]) if "TESTS_PYODIDE" in os.environ else None,
)  # fmt: skip
"""Small too, with the runtime that was fetched."""


class Site(Protocol):
    """An executor, and what only it knows of its REPLs."""

    executor: Executor
    lets: bool
    """Whether code may start programs and read the system, so that only what the targets saw is a breach."""

    def places(self, handle: ReplHandle) -> Mapping[str, object]:
        """The names `ADDRESS`, the supervisor's socket, `SCRATCH`, the REPL's folder, and what else is elsewhere."""

    def others(self, handle: ReplHandle) -> Mapping[str, object]:
        """The names `OTHER_ADDRESS` and `OTHER_SCRATCH`, by which this machine knows those of another REPL."""

    def changes(self, handle: ReplHandle) -> list[str]:
        """What has been changed that no code may change, in the REPL's own place, while it is still there."""

    def left(self, handle: ReplHandle) -> list[str]:
        """What is still there after the REPL was closed. Removes it."""


class LocalSite:
    """Processes and folders of this machine."""

    lets = False

    def __init__(self, folder: Path, *, unsafe: bool = False) -> None:
        self.executor = LocalExecutor(LOCAL.model_copy(update={"unsafe": unsafe}), folder=folder)

    def places(self, handle: ReplHandle) -> Mapping[str, object]:
        return {"ADDRESS": f"{handle.address}/control.sock", "SCRATCH": f"{handle.address}/scratch"}

    def others(self, handle: ReplHandle) -> Mapping[str, object]:
        return {f"OTHER_{name}": value for name, value in self.places(handle).items()}

    def changes(self, handle: ReplHandle) -> list[str]:
        return []  # the context lies among the targets

    def left(self, handle: ReplHandle) -> list[str]:
        left = ["its folder was left"] if Path(handle.address).exists() else []
        remove_tree(handle.address)
        return left


class PyodideSite:
    """Python in WebAssembly. It has a system of its own, which code may do with as it likes."""

    lets = True

    def __init__(self, folder: Path) -> None:
        self.executor = PyodideExecutor(PYODIDE, folder=folder)
        image.image(self.executor.store)  # which takes longer than any attack may

    def places(self, handle: ReplHandle) -> Mapping[str, object]:
        return {"ADDRESS": f"{handle.address}/control.sock", "SCRATCH": "/scratch"}

    def others(self, handle: ReplHandle) -> Mapping[str, object]:
        return {"OTHER_ADDRESS": f"{handle.address}/control.sock", "OTHER_SCRATCH": f"{handle.address}/scratch"}

    def changes(self, handle: ReplHandle) -> list[str]:
        return []  # the context lies among the targets

    def left(self, handle: ReplHandle) -> list[str]:
        left = ["its folder was left"] if Path(handle.address).exists() else []
        remove_tree(handle.address)
        return left


class DockerSite:
    """Containers, on the daemon that the environment names."""

    def __init__(self, targets: Targets, *, bash: bool = False) -> None:
        import docker

        from tests.docker_image import prepared_image

        settings = DockerSettings(
            image=prepared_image(), pull=False, memory_bytes=512 << 20, scratch_bytes=32 << 20, pids=64,
            idle_timeout_s=120, bash=bash,
        )  # fmt: skip
        self.lets = bash
        self.executor = DockerExecutor(settings)
        self._client = docker.APIClient(version="auto")
        self._volumes: dict[str, str] = {}
        self._targets = targets
        self._context = f"{HOME}/{CONTEXTS}/1-{targets.context.sha256}"

    def places(self, handle: ReplHandle) -> Mapping[str, object]:
        (mount,) = self._client.inspect_container(handle.address)["Mounts"]
        self._volumes[handle.address] = mount["Name"]
        return {"ADDRESS": SOCKET, "SCRATCH": SCRATCH, "CONTEXT": f"{self._context}/text"}

    def others(self, handle: ReplHandle) -> Mapping[str, object]:
        root = f"/proc/{self._client.inspect_container(handle.address)['State']['Pid']}/root"
        return {"OTHER_ADDRESS": f"{root}{SOCKET}", "OTHER_SCRATCH": f"{root}{SCRATCH}"}

    def changes(self, handle: ReplHandle) -> list[str]:
        import docker.errors

        try:
            pieces, _ = self._client.get_archive(handle.address, self._context)
        except docker.errors.NotFound:  # the context was not given yet, or the container has ended
            return []
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            files = {member.name.split("/")[-1]: tar.extractfile(member) for member in tar if member.isfile()}
            found = {name: file.read() for name, file in files.items() if file}
        kept = {path.name: path.read_bytes() for path in self._targets.context_folder.iterdir()}
        return [] if found == kept else ["the context in the container was changed"]

    def left(self, handle: ReplHandle) -> list[str]:
        volume = self._volumes.pop(handle.address, None)
        left = []
        if any(found["Id"] == handle.address for found in self._client.containers(all=True)):
            self._client.remove_container(handle.address, force=True, v=True)
            left.append("its container was left")
        if any(found["Name"] == volume for found in self._client.volumes()["Volumes"] or ()):
            self._client.remove_volume(volume)
            left.append("its volume was left")
        return left


SITES: dict[str, Callable[[Path, Targets], Site]] = {
    "local": lambda folder, targets: LocalSite(folder / "local"),
    "docker": lambda folder, targets: DockerSite(targets),
    "docker, bash": lambda folder, targets: DockerSite(targets, bash=True),
    "e2b": lambda folder, targets: E2BSite(folder, targets),
    "e2b, bash": lambda folder, targets: E2BSite(folder, targets, bash=True),
    "e2b, old kernel": lambda folder, targets: E2BSite(folder, targets, template="old"),
    "pyodide": lambda folder, targets: PyodideSite(folder / "pyodide"),
    "unconfined": lambda folder, targets: LocalSite(folder / "unconfined", unsafe=True),
}


def sites_here() -> list[str]:
    """Return the executors that can be attacked on this machine."""
    return ["local", *_docker(), *_pyodide(), "e2b", "e2b, bash", *(["e2b, old kernel"] if os.geteuid() == 0 else [])]


def _docker() -> list[str]:
    daemon = subprocess.run(["docker", "version"], capture_output=True) if shutil.which("docker") else None
    return ["docker", "docker, bash"] if daemon is not None and daemon.returncode == 0 else []


def _pyodide() -> list[str]:
    try:
        image.image(PyodideExecutor(PYODIDE).store)
    except SetupError:
        return []
    return ["pyodide"]
