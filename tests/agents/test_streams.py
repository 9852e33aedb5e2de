"""Whoever leaves a stream frees its run, which can be gone on with at once and has lost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import RunHeldError, StorageError
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
GIVEN = {"question": "Go.", "context": "text"}
MODES = ["updates", "values", "messages", "custom"]


def replies(messages: Sequence[BaseMessage]) -> str:
    codes = ["x = llm_query('a')", "y = llm_query_batched(['b', 'c'])", "FINAL([x, *y])"]
    return repl(codes[sum(isinstance(message, AIMessage) for message in messages)])


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel(replies)


@pytest.fixture
def graph(agent: Build, model: ScriptedModel) -> RLMGraph:
    return agent(model, sub=lambda messages: messages[-1].text.upper(), checkpointer=InMemorySaver())


@pytest.mark.parametrize("parts", [1, 2, 4, 9])
@pytest.mark.parametrize("mode", MODES)
async def test_a_run_whose_stream_is_left_can_be_gone_on_with_at_once(graph: RLMGraph, mode: str, parts: int) -> None:
    async for _ in graph.astream(GIVEN, CONFIG, stream_mode=mode):  # type: ignore[call-overload]
        parts -= 1
        if parts == 0:
            break

    assert (await graph.ainvoke(None, CONFIG))["answer"].value == ["A", "B", "C"]


@pytest.mark.parametrize("parts", [1, 3, 8])
@pytest.mark.parametrize("mode", MODES)
def test_the_same_holds_for_a_synchronous_stream(graph: RLMGraph, mode: str, parts: int) -> None:
    for _ in graph.stream(GIVEN, CONFIG, stream_mode=mode):  # type: ignore[call-overload]
        parts -= 1
        if parts == 0:
            break

    assert graph.invoke(None, CONFIG)["answer"].value == ["A", "B", "C"]


async def test_the_same_holds_for_a_stream_of_events(graph: RLMGraph) -> None:
    async for event in graph.astream_events(GIVEN, CONFIG):
        if event["event"] == "on_chat_model_end":
            break

    assert (await graph.ainvoke(None, CONFIG))["answer"].value == ["A", "B", "C"]


async def test_a_reply_that_had_come_is_not_paid_for_again(graph: RLMGraph, model: ScriptedModel) -> None:
    async for event in graph.astream(GIVEN, CONFIG, stream_mode="custom"):
        if event.kind == "turn":  # the step that asked has not ended
            break

    await graph.ainvoke(None, CONFIG)

    assert len(model.calls) == 3


async def test_an_exception_of_the_reader_frees_the_run(graph: RLMGraph) -> None:
    async def read() -> None:
        async for _ in graph.astream(GIVEN, CONFIG, stream_mode="messages"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read()

    assert (await graph.ainvoke(None, CONFIG))["answer"].value == ["A", "B", "C"]


async def test_a_task_that_is_cancelled_while_it_reads_frees_the_run(graph: RLMGraph) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        async for _ in graph.astream(GIVEN, CONFIG, stream_mode="messages"):
            reading.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (await graph.ainvoke(None, CONFIG))["answer"].value == ["A", "B", "C"]


async def test_a_stream_that_is_kept_open_holds_its_run_until_it_is_closed(graph: RLMGraph) -> None:
    stream: Any = graph.astream(GIVEN, CONFIG)
    await anext(stream)

    with pytest.raises(RunHeldError, match="by a stream that was neither read to its end nor closed"):
        await graph.ainvoke(None, CONFIG)
    await stream.aclose()

    assert (await graph.ainvoke(None, CONFIG))["answer"].value == ["A", "B", "C"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_whose_loop_was_closed_frees_the_run(graph: RLMGraph) -> None:
    loop = asyncio.new_event_loop()
    stream: Any = graph.astream(GIVEN, CONFIG)
    loop.run_until_complete(anext(stream))
    loop.close()
    del stream

    assert graph.invoke(None, CONFIG)["answer"].value == ["A", "B", "C"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_that_was_left_as_its_loop_was_closed_frees_the_run(graph: RLMGraph) -> None:
    async def leave() -> None:
        async for _ in graph.astream(GIVEN, CONFIG):
            break

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()

    assert graph.invoke(None, CONFIG)["answer"].value == ["A", "B", "C"]


async def test_a_synchronous_call_on_the_loop_of_its_saver_is_refused_in_words(agent: Build, tmp_path: Path) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        with pytest.raises(StorageError, match=r"would wait for itself: call `await agent\.ainvoke"):
            agent([], checkpointer=saver).invoke(GIVEN, CONFIG)


def test_a_saver_whose_loop_has_ended_is_named(agent: Build, tmp_path: Path) -> None:
    async def opened() -> AsyncSqliteSaver:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
            return saver

    with pytest.raises(StorageError, match="does not run any more"):
        agent([], checkpointer=asyncio.run(opened())).invoke(GIVEN, CONFIG)
