"""All sandboxes that there are, over all executors that keep some: listed, and swept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rlm_graph.errors import SetupError
from rlm_graph.executors.host.sandboxes import Sandbox
from rlm_graph.settings import DockerSettings, E2BSettings, ExecutorSettings, LocalSettings, PyodideSettings
from rlm_graph.settings.plugins import PluginExecutorSettings
from rlm_graph.state import ReplHandle


@runtime_checkable
class ListsSandboxes(Protocol):
    """An executor whose REPLs outlive the process that drives them, and which can tell what REPLs there are."""

    async def sandboxes(self) -> Sequence[Sandbox]:
        """Return the sandboxes of all REPLs, whichever process started them."""

    async def close(self, handle: ReplHandle) -> None:
        """End the REPL and its sandbox. Idempotent."""


def sandbox_owners(settings: ExecutorSettings, *others: ExecutorSettings) -> list[ListsSandboxes]:
    """Return the executors whose sandboxes are to be listed: those of this machine, and what else `settings` names.

    `settings` is used for the executor that it names; the executors that it does not name have their defaults.
    `others` are the settings of specialists' executors: those that keep their REPLs elsewhere are asked too.
    """
    from rlm_graph.executors.docker import DockerExecutor
    from rlm_graph.executors.local import LocalExecutor
    from rlm_graph.executors.pyodide import PyodideExecutor

    local = settings if isinstance(settings, LocalSettings) else LocalSettings()
    docker = settings if isinstance(settings, DockerSettings) else DockerSettings()
    pyodide = settings if isinstance(settings, PyodideSettings) else PyodideSettings()
    found: list[ListsSandboxes] = [
        LocalExecutor(local),
        PyodideExecutor(pyodide),
        OptionalExecutor(DockerExecutor(docker), wanted=docker is settings),
    ]
    elsewhere: list[ExecutorSettings] = [settings]
    for other in others:
        another_daemon = isinstance(other, DockerSettings) and other.host != docker.host
        if other not in elsewhere and (another_daemon or isinstance(other, E2BSettings | PluginExecutorSettings)):
            elsewhere.append(other)
            if isinstance(other, DockerSettings):
                found.append(DockerExecutor(other))
    for each in elsewhere:
        if isinstance(each, E2BSettings):
            from rlm_graph.executors.e2b import E2BExecutor

            found.append(E2BExecutor(each))
        if isinstance(each, PluginExecutorSettings) and isinstance(packaged := each.executor(), ListsSandboxes):
            found.append(packaged)
    return found


async def find(executors: Sequence[ListsSandboxes]) -> list[tuple[ListsSandboxes, Sandbox]]:
    """Return all sandboxes, the oldest first, each with the executor that keeps it."""
    listed = await asyncio.gather(*(executor.sandboxes() for executor in executors))
    # By their ids: two executors may see the same sandbox.
    found = {
        sandbox.handle.id: (executor, sandbox)
        for executor, sandboxes in zip(executors, listed, strict=True)
        for sandbox in sandboxes
    }
    return sorted(found.values(), key=lambda pair: pair[1].created)


async def sweep(executors: Sequence[ListsSandboxes], *, older_than_s: float) -> list[Sandbox]:
    """End the sandboxes that are over, and return them."""
    over = [
        (executor, sandbox)
        for executor, sandbox in await find(executors)
        if sandbox.is_over(older_than_s=older_than_s, now=time.time())
    ]
    await asyncio.gather(*(executor.close(sandbox.handle) for executor, sandbox in over))
    return [sandbox for _, sandbox in over]


class OptionalExecutor:
    """An executor that need not be there: where nothing answers, it keeps no sandboxes."""

    def __init__(self, executor: ListsSandboxes, *, wanted: bool) -> None:
        self._executor = executor
        self._wanted = wanted

    async def sandboxes(self) -> Sequence[Sandbox]:
        try:
            return await self._executor.sandboxes()
        except SetupError:
            if self._wanted:
                raise
            return []

    async def close(self, handle: ReplHandle) -> None:
        await self._executor.close(handle)
