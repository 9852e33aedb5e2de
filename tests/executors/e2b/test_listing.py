"""Which sandboxes are ours, and what is told of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.executors.e2b.cloud import Cloud
from rlm_graph.settings import E2BSettings
from rlm_graph.state import ReplHandle
from tests.executors.e2b.conftest import NAME
from tests.executors.e2b_double.server import E2BDouble


async def test_of_several_sandboxes_of_one_name_one_is_left(executor: E2BExecutor, double: E2BDouble) -> None:
    async def attach() -> ReplHandle:
        async with executor.attached(None, name=NAME) as repl:
            return repl.handle

    handles = await asyncio.gather(*(attach() for _ in range(3)))
    left = list(double.sandboxes)
    await executor.close(handles[0])

    assert left == [handles[0].address]
    assert len(set(handles)) == 1


async def test_a_sandbox_of_somebody_else_is_neither_used_nor_ended(
    executor: E2BExecutor, double: E2BDouble, settings: E2BSettings
) -> None:
    from e2b import AsyncSandbox

    theirs = await AsyncSandbox.create(api_url=double.url, sandbox_url=double.url, metadata={"rlm-graph.repl": NAME})
    handle = ReplHandle(kind="e2b", id=NAME, address=theirs.sandbox_id, worker_version="0" * 16)

    await executor.close(handle)
    async with executor.attached(handle, name=NAME) as repl:
        assert repl.handle.address != theirs.sandbox_id
    await executor.close(repl.handle)

    assert await AsyncSandbox.kill(theirs.sandbox_id, api_url=double.url)


async def test_sandboxes_are_listed_without_waking_them(executor: E2BExecutor, double: E2BDouble) -> None:
    async with executor.attached(None) as one, executor.attached(None) as other, executor.attached(None) as paused:
        double.pause(paused.handle.address)
        await other.detach()
        listed = {sandbox.handle.id: sandbox for sandbox in await executor.sandboxes()}
        still_paused = double.sandboxes[paused.handle.address].paused
    for repl in (one, other, paused):
        await executor.close(repl.handle)

    assert listed[one.handle.id].state == "attached"
    assert listed[other.handle.id].state == "idle"
    assert listed[paused.handle.id].state == "idle"
    assert listed[one.handle.id].handle == one.handle
    assert still_paused


async def test_what_a_sandbox_uses_is_told(executor: E2BExecutor, settings: E2BSettings) -> None:
    async with executor.attached(None) as repl:
        peak = await Cloud(settings).peak_memory(repl.handle.address, datetime.now(UTC) - timedelta(seconds=5))
    await executor.close(repl.handle)
    gone = await Cloud(settings).peak_memory(repl.handle.address, datetime.now(UTC))

    assert peak > 1 << 20
    assert gone == 0
