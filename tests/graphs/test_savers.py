"""The same promises over every saver, through `invoke` and `ainvoke`: resume, approval, another question, types."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from rlm_graph import AgentOptions, Answer, Budget, LocalSettings, ModelError, Usage
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.approval import ApprovalRequest
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.state import CallSummary, ContextRef, Execution, ReplHandle, Turn, Variable
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl
from tests.graphs.test_resume import Flaky, kill_workers

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(300)]


@dataclass
class Kept:
    """A saver, and the way in which its graphs are run."""

    saver: BaseCheckpointSaver[Any]
    sync: bool

    async def run(self, graph: RLMGraph, given: Any) -> dict[str, Any]:
        if self.sync:
            result: dict[str, Any] = await asyncio.to_thread(graph.invoke, given, CONFIG)
            return result
        return await graph.ainvoke(given, CONFIG)

    async def state(self, graph: RLMGraph) -> dict[str, Any]:
        if self.sync:
            return dict((await asyncio.to_thread(graph.get_state, CONFIG)).values)
        return dict((await graph.aget_state(CONFIG)).values)


@pytest.fixture
def sqlite_sync(tmp_path: Path) -> Iterator[SqliteSaver]:
    connection = sqlite3.connect(tmp_path / "runs.sqlite", check_same_thread=False)
    yield SqliteSaver(connection)
    connection.close()


@pytest.fixture
async def sqlite_async(tmp_path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        yield saver


@pytest.fixture
def postgres_sync(postgres: str) -> Iterator[BaseCheckpointSaver[Any]]:
    from langgraph.checkpoint.postgres import PostgresSaver

    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
        yield saver


@pytest.fixture
async def postgres_async(postgres: str) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    async with AsyncPostgresSaver.from_conn_string(postgres) as saver:
        await saver.setup()
        yield saver


@pytest.fixture
def memory_sync() -> InMemorySaver:
    return InMemorySaver()


@pytest.fixture
def memory_async() -> InMemorySaver:
    return InMemorySaver()


SAVERS = ("memory_sync", "memory_async", "sqlite_sync", "sqlite_async", "postgres_sync", "postgres_async")


@pytest.fixture(params=SAVERS)
def kept(request: pytest.FixtureRequest) -> Kept:
    return Kept(request.getfixturevalue(request.param), sync=request.param.endswith("_sync"))


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=30), folder=tmp_path / "repls")
    yield executor
    kill_workers(executor)


class Sub:
    """A sub-model that notes what it is asked, and numbers its answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, messages: Sequence[BaseMessage]) -> str:
        self.asked.append(messages[-1].text)
        return f"{messages[-1].text}{len(self.asked)}"


async def test_a_failed_run_goes_on_with_its_repl_rebuilt_and_asks_nothing_twice(
    agent: Build, executor: LocalExecutor, kept: Kept
) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(3) as pool:
    found = list(pool.map(llm_query, ["a", "a", "b"]))
found += llm_query_batched(["c", "d"])
numbers = (n * n for n in range(9)); next(numbers); next(numbers)
"""
    sub = Sub()
    root = Flaky(
        [repl(code), repl("found.append(llm_query('e'))"), repl("FINAL([*found, next(numbers)])")], down_at=[3]
    )
    graph = agent(root, sub=sub, checkpointer=kept.saver, executor=executor)
    with pytest.raises(ModelError, match="down"):
        await kept.run(graph, {"question": "Go.", "context": "some text"})
    kill_workers(executor)

    result = await kept.run(graph, None)

    *found, number = result["answer"].value
    assert [answer[0] for answer in found] == ["a", "a", "b", "c", "d", "e"]
    assert len(set(found)) == 6
    assert number == 4
    assert sorted(sub.asked) == ["a", "a", "b", "c", "d", "e"]
    assert result["usage"].subcalls == 6


async def test_a_child_that_was_cut_off_goes_on_where_it_was(agent: Build, executor: LocalExecutor, kept: Kept) -> None:
    sub = Sub()
    down = [True]

    def model(messages: Sequence[BaseMessage]) -> Any:
        turn = sum(message.type == "ai" for message in messages)
        if not any("Look" in message.text for message in messages if message.type == "human"):
            return repl("FINAL(rlm_query('Look', context='deep') + llm_query('b'))")
        if turn and down:
            down.pop()
            return ModelError("down", retryable=True)
        return [repl("x = llm_query('a')"), repl("FINAL(x + context)")][turn]

    root = ScriptedModel(model)
    graph = agent(root, sub=lambda messages: model(messages) if messages[0].type == "system" else sub(messages),
                  checkpointer=kept.saver, executor=executor)  # fmt: skip

    result = await kept.run(graph, {"question": "Go."})

    assert result["answer"].value == "a1deepb2"
    assert sub.asked == ["a", "b"]


async def test_a_run_waits_for_approval_and_goes_on_under_a_graph_built_anew(
    agent: Build, executor: LocalExecutor, kept: Kept
) -> None:
    first = agent([repl("FINAL(6 * 7)")], interrupt_on="code", checkpointer=kept.saver, executor=executor)
    paused = await kept.run(first, {"question": "Go."})
    shown = [interrupt.value for interrupt in paused["__interrupt__"]]

    result = await kept.run(
        agent([], interrupt_on="code", checkpointer=kept.saver, executor=executor),
        Command(resume={"edit": "FINAL(43)"}),
    )

    assert shown == [ApprovalRequest(kind="code", cells=("FINAL(6 * 7)",)).model_dump(mode="json")]
    assert result["answer"].value == 43


async def test_calls_wait_for_approval_each_on_its_own(agent: Build, executor: LocalExecutor, kept: Kept) -> None:
    sub = Sub()
    graph = agent([repl("x = llm_query('a')\nFINAL(x + llm_query('b'))")], sub=sub, interrupt_on="subcalls",
                  checkpointer=kept.saver, executor=executor)  # fmt: skip

    paused = await kept.run(graph, {"question": "Go."})
    for preview in ("a", "b"):
        assert [interrupt.value["preview"] for interrupt in paused["__interrupt__"]] == [preview]
        paused = await kept.run(graph, Command(resume=True))

    assert paused["answer"].value == "a1b2"
    assert sub.asked == ["a", "b"]


async def test_a_second_question_finds_the_variables_and_a_second_context(
    agent: Build, executor: LocalExecutor, kept: Kept
) -> None:
    root = ScriptedModel([repl("x = context.upper()\nFINAL(x)"), repl("FINAL([x, len(contexts), context])")])
    graph = agent(root, checkpointer=kept.saver, executor=executor)
    await kept.run(graph, {"question": "First?", "context": "one"})

    result = await kept.run(graph, {"question": "Second?", "context": "two"})

    assert result["answer"].value == ["ONE", 2, "two"]
    assert [message.text for message in result["messages"]][:3] == ["First?", "ONE", "Second?"]
    assert any("First?" in message.text for message in root.calls[1])


async def test_what_is_read_back_has_its_types(
    agent: Build, executor: LocalExecutor, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    graph = agent(
        [repl("x = llm_query('a')\nprint(x)"), repl("1 / 0"), repl("FINAL({'x': [x, None, 1.5]})")], sub=Sub(),
        checkpointer=kept.saver, executor=executor, budget=Budget(max_tokens=9_999),
        options=AgentOptions(interrupt_before=["finalize"]),
    )  # fmt: skip

    await kept.run(graph, {"question": "Go.", "context": ["one", "two"]})
    paused = await kept.state(graph)
    await kept.run(graph, None)
    ended = await kept.state(graph)

    assert isinstance(paused["repl"], ReplHandle)
    assert paused["final"].value == {"x": ["a1", None, 1.5]}
    assert [type(ref) for ref in ended["contexts"]] == [ContextRef]
    assert [type(turn) for turn in ended["turns"]] == [Turn] * 3
    assert {type(each) for turn in ended["turns"] for each in turn.executions} == {Execution}
    assert [type(each) for each in ended["turns"][0].calls] == [CallSummary]
    assert type(ended["turns"][0].variables[0]) is Variable
    assert ended["turns"][1].executions[0].error.type == "ZeroDivisionError"
    assert (type(ended["budget"]), ended["budget"].max_tokens) == (Budget, 9_999)
    assert (type(ended["usage"]), ended["usage"].subcalls) == (Usage, 1)
    assert (type(ended["answer"]), ended["answer"].value) == (Answer, {"x": ["a1", None, 1.5]})
    assert [record.message for record in caplog.records if "serializ" in record.message] == []


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"], ids=["NUL", "lone surrogate"])
async def test_any_text_can_be_an_answer(agent: Build, executor: LocalExecutor, kept: Kept, text: str) -> None:
    graph = agent(
        [repl(f"FINAL({text!r})"), repl(f"FINAL({text!r} + ' and more')")], checkpointer=kept.saver, executor=executor,
        response_format={"type": "string", "minLength": 6, "pattern": "^a"},
    )  # fmt: skip

    result = await kept.run(graph, {"question": f"Go, {text}."})

    assert result["structured_response"] == f"{text} and more"
    assert (await kept.state(graph))["answer"].value == f"{text} and more"


async def test_no_text_goes_past_the_serializer_into_postgresql(
    agent: Build, executor: LocalExecutor, postgres_async: Any
) -> None:
    graph = agent(
        [repl("FINAL('mistaken')"), repl("FINAL('the long answer')")], checkpointer=postgres_async, executor=executor,
        response_format={"type": "string", "minLength": 12},
    )  # fmt: skip

    await graph.ainvoke({"question": "Go."}, CONFIG)

    async with postgres_async.conn.cursor() as cursor:
        await cursor.execute("SELECT checkpoint::text || metadata::text AS plain FROM checkpoints")
        plain = "".join([row["plain"] for row in await cursor.fetchall()])
    assert "mistaken" not in plain
    assert "answer" in plain  # the name of the channel
    assert "long answer" not in plain
