"""All sandboxes that there are: listed, and swept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rlm_graph.errors import SetupError
from rlm_graph.executors.host.sandboxes import Sandbox
from rlm_graph.settings import DockerSettings, E2BSettings, ExecutorSettings, LocalSettings, PyodideSettings
from rlm_graph.settings.plugins import PackagedSettings
from rlm_graph.state import ReplHandle


@runtime_checkable
class Keeper(Protocol):
    """An executor whose REPLs outlive the host, and which can tell what REPLs there are."""

    async def sandboxes(self) -> Sequence[Sandbox]:
        """Return them, of all hosts."""

    async def close(self, handle: ReplHandle) -> None:
        """End one."""


def keepers(settings: ExecutorSettings, *others: ExecutorSettings) -> list[Keeper]:
    """Return those of this machine, and what else `settings` name; they are used for the executor that they are of.

    `others` are the executors of specialists: those that keep their REPLs elsewhere are asked too.
    """
    from rlm_graph.executors.docker import DockerExecutor
    from rlm_graph.executors.local import LocalExecutor
    from rlm_graph.executors.pyodide import PyodideExecutor

    local = settings if isinstance(settings, LocalSettings) else LocalSettings()
    docker = settings if isinstance(settings, DockerSettings) else DockerSettings()
    pyodide = settings if isinstance(settings, PyodideSettings) else PyodideSettings()
    found: list[Keeper] = [
        LocalExecutor(local),
        PyodideExecutor(pyodide),
        _Perhaps(DockerExecutor(docker), wanted=docker is settings),
    ]
    elsewhere: list[ExecutorSettings] = [settings]
    for other in others:
        another_daemon = isinstance(other, DockerSettings) and other.host != docker.host
        if other not in elsewhere and (another_daemon or isinstance(other, E2BSettings | PackagedSettings)):
            elsewhere.append(other)
            if isinstance(other, DockerSettings):
                found.append(DockerExecutor(other))
    for each in elsewhere:
        if isinstance(each, E2BSettings):
            from rlm_graph.executors.e2b import E2BExecutor

            found.append(E2BExecutor(each))
        if isinstance(each, PackagedSettings) and isinstance(packaged := each.executor(), Keeper):
            found.append(packaged)
    return found


async def find(keepers: Sequence[Keeper]) -> list[tuple[Keeper, Sandbox]]:
    """Return all sandboxes, the oldest first, each with its keeper."""
    listed = await asyncio.gather(*(keeper.sandboxes() for keeper in keepers))
    # By their ids: two keepers may see the same ones.
    found = {
        sandbox.handle.id: (keeper, sandbox)
        for keeper, sandboxes in zip(keepers, listed, strict=True)
        for sandbox in sandboxes
    }
    return sorted(found.values(), key=lambda pair: pair[1].created)


async def sweep(keepers: Sequence[Keeper], *, older_than_s: float) -> list[Sandbox]:
    """End the sandboxes that are over, and return them."""
    over = [
        (keeper, sandbox)
        for keeper, sandbox in await find(keepers)
        if sandbox.is_over(older_than_s=older_than_s, now=time.time())
    ]
    await asyncio.gather(*(keeper.close(sandbox.handle) for keeper, sandbox in over))
    return [sandbox for _, sandbox in over]


class _Perhaps:
    """A keeper that need not be there: where nothing answers, it keeps nothing."""

    def __init__(self, keeper: Keeper, *, wanted: bool) -> None:
        self._keeper = keeper
        self._wanted = wanted

    async def sandboxes(self) -> Sequence[Sandbox]:
        try:
            return await self._keeper.sandboxes()
        except SetupError:
            if self._wanted:
                raise
            return []

    async def close(self, handle: ReplHandle) -> None:
        await self._keeper.close(handle)
