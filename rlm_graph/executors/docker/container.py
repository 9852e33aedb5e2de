"""What a container of ours is: its name, its labels, its limits, and the command that it runs."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import SetupError
from rlm_graph.executors.host.bundle import file_name, version
from rlm_graph.executors.host.process import has_ended, this_owner
from rlm_graph.settings import DockerSettings

if TYPE_CHECKING:
    from docker import APIClient

MARK = "rlm-graph"
"""The label of all that is ours. The others begin with it."""
REPL, OWNER, MAKER, CREATED, VERSION = (f"{MARK}.{name}" for name in ("repl", "host", "maker", "created", "version"))

HOME = "/rlm-graph"
"""A volume of the container: the bundle, and the contexts. The worker cannot write to it, nor read the contexts."""
PLACE = "/run/rlm-graph"
"""The supervisor's folder, with its socket. The worker cannot enter it."""
SCRATCH = "/scratch"
"""The worker's own folder."""
SOCKET = f"{PLACE}/control.sock"
PLACE_BYTES = 64 << 10
MAX_OPEN_FILES = 1024
RESERVED_PIDS = 4
"""Of the container's processes, those that code cannot take: the supervisor, and a relay with what starts it."""

_FIRST_USER, _USERS = 20_000, 40_000
"""Users that images hardly have, below what a daemon with user namespaces can map."""
_SWAP = "swap"
"""Stands in what daemons warn of where they cannot limit it: there is then none to be used, or it is the machine's."""


def container_name(repl: str) -> str:
    """Return what the container of a REPL is called."""
    return f"{MARK}-{repl}"


def relay_command(bundle: str) -> list[str]:
    """Return the command that connects its input and output with a supervisor of the bundle's version."""
    return ["python3", "-S", "-s", f"{HOME}/{file_name(bundle)}", "relay", SOCKET]


def create(client: APIClient, repl: str, image: str, settings: DockerSettings, *, keep: bool = False) -> str:
    """Make the container of a REPL, and return its id. It removes itself and its volume when it ends, unless `keep`.

    The supervisor is its first process, as root with three capabilities: to become the worker's user, and to end what
    runs under it. Model code runs under that user, with none.
    """
    from docker.types import LogConfig, Ulimit

    given = json.dumps(_supervisor_settings(repl, settings))
    supervise = ["python3", "-s", "-X", "utf8", f"{HOME}/{file_name()}", "supervise", given]
    limits = client.create_host_config(
        auto_remove=not keep,
        network_mode=settings.network or "none",
        cap_drop=["ALL"],
        cap_add=["SETUID", "SETGID", "KILL"],
        security_opt=["no-new-privileges:true"],
        read_only=True,
        tmpfs=_writable(worker_user(repl), settings),
        pids_limit=settings.pids,
        mem_limit=settings.memory_bytes,
        memswap_limit=settings.memory_bytes,
        nano_cpus=int(settings.cpus * 1e9),
        ulimits=[
            Ulimit(name="nofile", soft=MAX_OPEN_FILES, hard=MAX_OPEN_FILES),
            Ulimit(name="core", soft=0, hard=0),
        ],
        ipc_mode="none",
        log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
    )
    # The SDK has no name for it: the worker's figures are those of its own cgroup, whatever the daemon's default.
    limits["CgroupnsMode"] = "private"
    made = client.create_container(
        image,
        name=container_name(repl),
        entrypoint=supervise[:1],
        command=supervise[1:],
        user="0:0",
        working_dir="/",
        hostname="rlm",
        # The order of sets is fixed so that a replay is faithful.
        environment={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
        volumes=[HOME],
        labels=_labels(repl),
        host_config=limits,
    )
    container = str(made["Id"])
    warnings = [text for text in made.get("Warnings") or () if "discarded" in text.lower()]
    discarded = [text for text in warnings if _SWAP not in text.lower()]
    if discarded:
        client.remove_container(container, v=True, force=True)
        raise SetupError(f"the Docker daemon cannot keep a container within its limits: {'; '.join(discarded)}")
    return container


def is_ours(inspected: dict[str, Any], repl: str) -> bool:
    """Whether a container is that of the REPL, and not one that happens to have its name."""
    labels = inspected["Config"]["Labels"] or {}
    return MARK in labels and labels.get(REPL) == repl


def maker_has_ended(labels: dict[str, str]) -> bool:
    """Whether the process that made a container is known to be gone: if it has not started it, nobody will."""
    try:
        return has_ended(json.loads(labels.get(MAKER, "null")))
    except ValueError:
        return False


def worker_user(repl: str) -> int:
    """Return the worker's user: another for each REPL, for the kernel also counts by user, across containers."""
    return _FIRST_USER + int(repl, 16) % _USERS


def _labels(repl: str) -> dict[str, str]:
    return {
        MARK: "1", REPL: repl, OWNER: socket.gethostname(), MAKER: json.dumps(this_owner()),
        CREATED: str(int(time.time())), VERSION: version(),
    }  # fmt: skip


def _writable(user: int, settings: DockerSettings) -> dict[str, str]:
    safe = "rw,noexec,nosuid,nodev"
    return {
        PLACE: f"{safe},size={PLACE_BYTES},mode=0700",
        SCRATCH: f"{safe},size={settings.scratch_bytes},mode=0700,uid={user},gid={user}",
    }


def _supervisor_settings(repl: str, settings: DockerSettings) -> dict[str, object]:
    return {
        "foreground": True, "folder": PLACE, "scratch_folder": SCRATCH, "sent_folder": HOME, "version": version(),
        "user": worker_user(repl), "memory_bytes": settings.memory_bytes, "max_file_bytes": settings.scratch_bytes,
        "max_threads": settings.pids - RESERVED_PIDS,
        "max_output_bytes": settings.max_output_bytes, "idle_timeout_s": settings.idle_timeout_s,
        "network": settings.network is not None, "bash": settings.bash,
    }  # fmt: skip
