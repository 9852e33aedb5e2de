"""`rlm-graph ps --sandboxes` and `rlm-graph sweep` where the settings name E2B."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.state import ReplHandle
from tests.executors.e2b_double.server import E2BDouble

Command = Callable[..., Any]


@pytest.fixture
def command(double: E2BDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `rlm-graph` with settings that name the double, and reads the JSON that it prints of E2B's sandboxes."""
    config = tmp_path / "rlm.toml"
    config.write_text(f'[executor]\nkind = "e2b"\napi_url = "{double.url}"\nsandbox_url = "{double.url}"\n')
    monkeypatch.setenv("RLM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker")  # whose containers are not these tests' to end

    def run(*arguments: str) -> Any:
        from rlm_graph.cli.app import app

        done = CliRunner().invoke(app, [*arguments, "--json", "--config", str(config)])
        assert done.exit_code == 0, done.output
        return {row["sandbox"]: row for row in json.loads(done.stdout) if row["kind"] == "e2b"}

    return run


@pytest_asyncio.fixture
async def left(executor: E2BExecutor) -> AsyncIterator[dict[str, ReplHandle]]:
    """REPLs by what their hosts did: one is in use, one was left."""
    async with AsyncExitStack() as stack:
        used = await stack.enter_async_context(executor.attached(None))
        async with executor.attached(None) as repl:
            pass
        yield {"used": used.handle, "left": repl.handle}
    for handle in (used.handle, repl.handle):
        await executor.close(handle)


async def test_sandboxes_are_listed_with_what_became_of_their_hosts(
    command: Command, left: dict[str, ReplHandle]
) -> None:
    listed = await asyncio.to_thread(command, "ps", "--sandboxes")

    assert {name: listed[handle.id]["state"] for name, handle in left.items()} == {"used": "attached", "left": "idle"}


async def test_what_nobody_uses_is_swept_and_what_somebody_uses_is_not(
    command: Command, left: dict[str, ReplHandle], double: E2BDouble
) -> None:
    none = await asyncio.to_thread(command, "sweep", "--older-than", "1h")
    swept = await asyncio.to_thread(command, "sweep", "--older-than", "0s")

    assert none == {}
    assert list(swept) == [left["left"].id]
    assert list(double.sandboxes) == [left["used"].address]


async def test_one_that_is_paused_is_swept_without_waking_it(
    command: Command, left: dict[str, ReplHandle], double: E2BDouble
) -> None:
    double.pause(left["left"].address)
    before = len(double.requests)
    swept = await asyncio.to_thread(command, "sweep", "--older-than", "0s")

    assert list(swept) == [left["left"].id]
    assert f"POST /v2/sandboxes/{left['left'].address}/connect" not in double.requests[before:]
