"""What the tests of the E2B executor share: the double, and REPLs in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.conformance import Notebook
from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.settings import E2BSettings
from tests.executors.e2b_double.sandbox import Sandbox
from tests.executors.e2b_double.server import KEY, E2BDouble

NAME = "00000000000000e2"


@pytest.fixture(scope="session")
def server() -> Iterator[E2BDouble]:
    with E2BDouble() as server:
        yield server


@pytest.fixture
def double(server: E2BDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[E2BDouble]:
    """The double, healthy, with its key in the environment. Afterwards no sandbox may be left."""
    monkeypatch.setenv("E2B_API_KEY", KEY)
    for seen in (server.requests, server.created, server.bodies):
        seen.clear()
    yield server
    server.heal()
    left = list(server.sandboxes)
    for sandbox_id in left:
        server.kill(sandbox_id)
    assert not left


@pytest.fixture
def settings(double: E2BDouble) -> E2BSettings:
    return E2BSettings(api_url=double.url, sandbox_url=double.url)


@pytest.fixture
def executor(settings: E2BSettings) -> E2BExecutor:
    return E2BExecutor(settings)


class Patient:
    """A host whose answers wait until `ready`, and which tells when it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ready = asyncio.Event()

    async def __call__(self, call: HostCall) -> CallResult:
        self.asked.set()
        await self.ready.wait()
        return CallResult(value="answer")


ASK = "kept = 7\nprint(llm_query('p'))"


@contextlib.asynccontextmanager
async def asking(executor: E2BExecutor) -> AsyncIterator[tuple[Notebook, Patient, asyncio.Task[str]]]:
    """A REPL whose cell waits for an answer."""
    async with executor.attached(None) as repl:
        notebook, host = Notebook(repl), Patient()
        running = asyncio.create_task(notebook.printed(ASK, serve=host))
        try:
            await host.asked.wait()
            yield notebook, host, running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await executor.close(repl.handle)


def only(double: E2BDouble) -> Sandbox:
    (sandbox,) = double.sandboxes.values()
    return sandbox
