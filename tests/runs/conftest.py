"""Services with a scripted model, on SQLite and on PostgreSQL: no command, no key, no network, no sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from rlm_graph.runs.building import open_agent
from rlm_graph.runs.job import Job
from rlm_graph.runs.service import RunService
from rlm_graph.settings import Settings
from rlm_graph.testing import ScriptedExecutor, ScriptedModel
from rlm_graph.testing.cells import Call, Final, Output

CELLS: dict[str, Any] = {
    "look": [Output("looked")],
    "ask": [Call("llm_query", {"prompt": "once"}), Output(lambda got: f"{got[0]}")],
    "ask both": [
        Call("llm_query", {"prompt": "first"}, catch=True),
        Call("llm_query", {"prompt": "second"}, catch=True),
    ],
    "end": [Final("the end")],
    "other end": [Final("another end")],
}
"""What each cell does that the scripted models write."""


def code(text: str) -> str:
    """A reply that holds one cell."""
    return f"```repl\n{text}\n```"


class GatedModel(ScriptedModel):
    """A scripted model; what it is asked while its gate is shut waits until it is opened."""

    _opened: asyncio.Event = PrivateAttr(default_factory=asyncio.Event)
    _reached: asyncio.Event = PrivateAttr(default_factory=asyncio.Event)

    async def reached(self) -> None:
        """Wait until somebody waits at the gate."""
        await self._reached.wait()

    def open(self) -> None:
        """Open the gate, for good."""
        self._opened.set()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self._reached.set()
        await self._opened.wait()
        return await super()._agenerate(messages, stop, run_manager, **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        self._reached.set()
        await self._opened.wait()
        async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
            yield chunk


def turns(*cells: str) -> Callable[[Sequence[BaseMessage]], str]:
    """A script: one of the cells a turn, the last one again and again; sub-calls are answered with their prompt."""

    def script(messages: Sequence[BaseMessage]) -> str:
        if not any(message.type == "system" for message in messages):
            return f"answer to {messages[-1].text}"
        turn = sum(message.type == "ai" for message in messages)
        return code(cells[min(turn, len(cells) - 1)])

    return script


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Those of a service in a folder of its own. A test that is parametrized by `place` has its database there."""
    values: dict[str, Any] = {"model": "scripted", "data_dir": tmp_path / "data"}
    if "place" in request.fixturenames and request.getfixturevalue("place") == "postgres":
        values["db"] = request.getfixturevalue("postgres")
    return Settings(**values)


@pytest.fixture
def executor() -> ScriptedExecutor:
    """Where cells run, for as long as the test lasts: REPLs outlive the services."""
    return ScriptedExecutor(CELLS)


Open = Callable[[ScriptedModel], AbstractAsyncContextManager[RunService]]


@pytest.fixture
def opened(settings: Settings, executor: ScriptedExecutor) -> Open:
    """Opens a service whose root model is the one that is given."""

    def opened(model: ScriptedModel) -> AbstractAsyncContextManager[RunService]:
        return RunService.open(settings, build=partial(open_agent, model=model, executor=executor))

    return opened


Serve = Callable[..., Any]


@pytest.fixture
async def serve(opened: Open) -> AsyncIterator[Serve]:
    """Opens such a service until the end of the test, with a script for its model, or a model."""
    async with AsyncExitStack() as stack:

        async def serve(*cells: str, model: ScriptedModel | None = None) -> RunService:
            return await stack.enter_async_context(opened(model or ScriptedModel(turns(*cells))))

        yield serve


@pytest.fixture
def job(settings: Settings) -> Callable[..., Job]:
    """Makes a job of a question."""

    def job(question: str = "why?", **options: Any) -> Job:
        return Job(question, options.pop("settings", settings), **options)

    return job


@asynccontextmanager
async def under_way(service: RunService, model: GatedModel, job: Job, **options: Any) -> AsyncIterator[Any]:
    """Give a run that waits at the model's gate; the gate is open after the block."""
    live = await service.start(job, **options)
    await model.reached()
    try:
        yield live
    finally:
        model.open()
