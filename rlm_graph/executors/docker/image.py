"""Images: brought here if they are missing, or derived from another with packages baked in."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import ExecutorError, Hint, InputError, SetupError
from rlm_graph.executors.docker.daemon import words
from rlm_graph.settings import DockerSettings

if TYPE_CHECKING:
    from docker import APIClient

DERIVED = "rlm-graph-sandbox"
WHEELS = "wheels"

_pulling = threading.Lock()


def image_name(settings: DockerSettings) -> str:
    """Return the image that REPLs run in: the one in the settings, or what `build` makes of it."""
    if not settings.packages:
        return settings.image
    return f"{DERIVED}:{hashlib.sha256(_recipe(settings).encode()).hexdigest()[:16]}"


def bring(client: APIClient, settings: DockerSettings) -> None:
    """See to it that the daemon has the image. Raises `SetupError` if it cannot."""
    import docker.errors

    image = image_name(settings)
    with _pulling:
        if _has(client, image):
            return
        if settings.packages:
            raise SetupError(f"the image with your packages, {image}, is not built yet", hint=Hint("build_image"))
        if not settings.pull:
            raise SetupError(f"the Docker daemon has no image {image}: run `docker pull {image}`, or set `pull = true`")
        try:
            client.pull(image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest")
        except docker.errors.APIError as error:
            raise SetupError(
                f"the Docker daemon has no image {image} and cannot fetch it: {words(error)}; "
                "name another by `image`, or bring it with `docker load`"
            ) from error


def build(
    client: APIClient, settings: DockerSettings, *, wheels: Path | None = None, tell: Callable[[str], None]
) -> str:
    """Derive the image with the packages of the settings, and return its name. `tell` is told each line of the build.

    With `wheels`, a folder, the packages come from its files and no network is used.
    """
    import docker.errors

    if not settings.packages:
        raise SetupError('there is nothing to build: name packages, such as packages = ["pandas==2.3.3"]')
    if wheels is not None and not wheels.is_dir():
        raise InputError(f"{wheels} is no folder of wheels")
    bring(client, settings.model_copy(update={"packages": ()}))
    name = image_name(settings)
    network = "none" if wheels is not None else None
    try:
        lines = client.build(
            fileobj=_build_context(settings, wheels), custom_context=True, tag=name, rm=True, forcerm=True,
            network_mode=network, decode=True, labels={"rlm-graph": "1"},
        )  # fmt: skip
        for line in _said(lines):
            tell(line)
    except docker.errors.APIError as error:
        raise ExecutorError(f"the image cannot be built: {words(error)}") from error
    return name


def _recipe(settings: DockerSettings, *, offline: bool = False) -> str:
    """Return the Dockerfile. Offline it differs, and what it makes does not: the tag is of the other."""
    options = "--no-cache-dir --no-compile --disable-pip-version-check --root-user-action=ignore"
    source = f" --no-index --find-links=/{WHEELS}" if offline else ""
    packages = " ".join(sorted(settings.packages))
    copied = f"COPY {WHEELS} /{WHEELS}\n" if offline else ""
    return f"FROM {settings.image}\nUSER 0:0\n{copied}RUN python3 -m pip install {options}{source} {packages}\n"


def _build_context(settings: DockerSettings, wheels: Path | None) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        recipe = _recipe(settings, offline=wheels is not None).encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(recipe)
        tar.addfile(entry, io.BytesIO(recipe))
        for wheel in sorted(wheels.glob("*.whl")) if wheels is not None else ():
            tar.add(wheel, f"{WHEELS}/{wheel.name}")
    packed.seek(0)
    return packed


def _said(lines: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield what the daemon prints while it builds. Raises `ExecutorError` if a step fails."""
    for line in lines:
        if "error" in line:
            raise ExecutorError(f"the image cannot be built: {str(line['error']).strip()}")
        yield from filter(None, str(line.get("stream", "")).splitlines())


def _has(client: APIClient, image: str) -> bool:
    import docker.errors

    try:
        client.inspect_image(image)  # type: ignore[no-untyped-call]  # the stubs have no types for it
    except docker.errors.ImageNotFound:
        return False
    return True
