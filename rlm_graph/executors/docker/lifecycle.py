"""A container's life: found by its name, started, removed. Each of these blocks, and is done whole or not at all.

An owner that stops waiting half-way thus leaves no container that neither runs nor ends itself.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors.docker.archive import bundle_archive
from rlm_graph.executors.docker.container import (
    HOME,
    MARK,
    OWNER,
    REPL,
    VERSION,
    container_name,
    create,
    is_ours,
    maker_has_ended,
)
from rlm_graph.executors.docker.daemon import told, words
from rlm_graph.executors.docker.image import bring, image_name
from rlm_graph.settings import DockerSettings

if TYPE_CHECKING:
    from docker import APIClient

BEGIN_S = 30
"""Seconds from the making of a container until it must run."""
END_S = 60.0
"""Seconds until a container that was removed must be gone."""
LOOK_S = 0.02
GONE = "no such container"
"""In what the daemon says of a container that is not there. Of a network or a program it says something else."""


def has(client: APIClient, repl: str, container: str) -> bool:
    """Whether there is such a container, running or not, and it is the REPL's."""
    import docker.errors

    try:
        found: dict[str, Any] = client.inspect_container(container)
    except docker.errors.NotFound:
        return False
    return is_ours(found, repl) and bool(found["Id"] == container)


def find(client: APIClient, repl: str) -> str | None:
    """Return the id of the REPL's container, if there is one; one that is just being started is waited for.

    Not so one whose maker was killed before it started it.
    """
    import docker.errors

    name = container_name(repl)
    patience = time.monotonic() + BEGIN_S
    while True:
        try:
            found: dict[str, Any] = client.inspect_container(name)
        except docker.errors.NotFound:
            return None
        if not is_ours(found, repl):
            raise SetupError(f"Docker has a container {name} that is not ours; remove it: docker rm -f {name}")
        begins = found["State"]["Status"] == "created" and not maker_has_ended(found["Config"]["Labels"])
        if not begins or time.monotonic() > patience:
            return str(found["Id"])
        time.sleep(LOOK_S)


class ContainerEntry(NamedTuple):
    """A container of ours, as its labels tell."""

    repl: str
    container: str
    state: str
    owner: str
    """The name of the machine from which it was made."""
    created: float
    version: str
    never_starts: bool
    """Whether whoever made it was killed before it could start it."""


def containers(client: APIClient) -> list[ContainerEntry]:
    """Return all containers of ours, running or not."""
    found: list[dict[str, Any]] = client.containers(all=True, filters={"label": [MARK, REPL]})
    return [_entry(one, one["Labels"]) for one in found]


def _entry(one: dict[str, Any], labels: dict[str, str]) -> ContainerEntry:
    return ContainerEntry(
        labels[REPL], one["Id"], one["State"], labels.get(OWNER, ""), one["Created"], labels.get(VERSION, ""),
        never_starts=one["State"] == "created" and maker_has_ended(labels),
    )  # fmt: skip


def start(client: APIClient, repl: str, settings: DockerSettings) -> str | None:
    """Start the REPL's container and return its id. None if another process was faster.

    Raises `SetupError` if the image is missing or cannot run the supervisor, or if there is no such network.
    """
    import docker.errors

    container = _create(client, repl, settings)
    if container is None:
        return None
    try:
        with told("fill the container"):
            client.put_archive(container, HOME, bundle_archive())
        client.start(container)
    except docker.errors.APIError as error:
        # By now the daemon may have removed what it could not start, so that it is not there says nothing.
        if GONE in words(error).lower():  # one who lost patience has removed it
            return None
        remove(client, container)
        raise _refused(settings, words(error)) from error
    except BaseException:
        remove(client, container)
        raise
    return container


def remove(client: APIClient, container: str) -> None:
    """End a container, remove it with its volume, and wait until it is gone."""
    import docker.errors

    patience = time.monotonic() + END_S
    while True:
        try:
            client.remove_container(container, v=True, force=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            # 409: it is being removed already, by itself or by another.
            if error.status_code != 409 or time.monotonic() > patience:
                raise ExecutorError(f"Docker cannot remove container {container[:12]}: {words(error)}") from error
        time.sleep(LOOK_S)


def reason(client: APIClient, repl: str, settings: DockerSettings, first: Exception) -> Exception:
    """Find out why a container ended as soon as it had started: start it once more, and keep what it says."""
    import docker.errors

    try:
        container = create(client, repl, image_name(settings), settings, keep=True)
        try:
            client.put_archive(container, HOME, bundle_archive())
            client.start(container)
            client.wait(container, timeout=BEGIN_S)
            said = client.logs(container, stdout=False, tail=1).decode(errors="replace").strip()
        finally:
            remove(client, container)
    except (docker.errors.APIError, OSError):  # this time something else went wrong
        said = ""
    return _unfit(settings, said) if said else ExecutorError(f"the container did not start: {first}")


def _create(client: APIClient, repl: str, settings: DockerSettings) -> str | None:
    import docker.errors

    image = image_name(settings)
    with told("make a container"):
        try:
            try:
                return create(client, repl, image, settings)
            except docker.errors.ImageNotFound:
                bring(client, settings)
                return create(client, repl, image, settings)
        except docker.errors.APIError as error:
            if error.status_code == 409:  # the name is taken
                return None
            if error.status_code == 400:
                raise SetupError(f"Docker refuses the executor's settings: {words(error)}; correct them") from error
            raise


def _refused(settings: DockerSettings, said: str) -> SetupError:
    if settings.network is not None and f"network {settings.network} " in said:
        return SetupError(
            f"the container cannot join its network: {said}; `docker network ls` lists what `network` may be"
        )
    return _unfit(settings, said)


def _unfit(settings: DockerSettings, said: str) -> SetupError:
    return SetupError(
        f"image {image_name(settings)} does not serve: {said}; name one with python3, 3.9 or later, by `image`"
    )
