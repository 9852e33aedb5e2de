"""What the record of sub-calls promises: each call has its own answer, and a finished one is never made again."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from pydantic import JsonValue

from rlm_graph import runnables
from rlm_graph.budget import Budget, Usage
from rlm_graph.calls.subcalls import Subcalls
from rlm_graph.executors.base import CallResult, HandedText, HostCall
from rlm_graph.executors.conformance.notebook import stored
from rlm_graph.graphs.subcall import create_subcall
from rlm_graph.handed import WholeContext
from rlm_graph.ledger import Ledger
from rlm_graph.models import chat_model, retry_policy
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedReply, ScriptedRequest, ScriptedServer
from rlm_graph.tools import host_functions

CONFIG: Any = {"configurable": {"thread_id": "a run"}}


class Done(TypedDict, total=False):
    answers: list[Any]
    usage: Usage


class Code:
    """Stands for the code of a cell: `calls` in some order, all at once, and a crash after `crash_after` answers."""

    def __init__(self, subcalls: Subcalls, calls: list[HostCall], *, budget: Budget | None = None) -> None:
        self.subcalls = subcalls
        self.calls = calls
        self.budget = budget or Budget()
        self.crash_after: int | None = None

    async def act(self, state: Done) -> Done:
        ledger = Ledger(self.budget, Usage())
        scope = self.subcalls.within(ledger, get_config())
        answers: dict[int, CallResult] = {}

        async def make(call: HostCall) -> None:
            answers[call.id] = await scope.serve(1, call)
            if self.crash_after is not None and len(answers) >= self.crash_after:
                raise RuntimeError("the host dies")

        order = random.sample(self.calls, len(self.calls))
        outcomes = await asyncio.gather(*map(make, order), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return {"answers": [answers[call.id].model_dump() for call in self.calls], "usage": ledger.spent}

    def graph(self, saver: Any) -> Any:
        graph = StateGraph(Done).add_node("act", runnables.node(self.act)).add_edge(START, "act")
        return graph.compile(checkpointer=saver)


def query(id: int, prompt: str, *, nth: int = 0, **options: Any) -> HostCall:
    return HostCall(id=id, function="llm_query", arguments={"prompt": prompt, **options}, nth=nth)


@pytest.fixture
def subcalls_to() -> Callable[..., Subcalls]:
    def build(server: ScriptedServer, **options: Any) -> Subcalls:
        settings = ModelSettings(base_url=server.url, max_retries=options.pop("max_retries", 0))
        model = chat_model("scripted", settings)
        graph = create_subcall({None: model, "scripted": model}, retry=retry_policy(settings), **options)
        return Subcalls(graph, max_concurrency=8, tools=options.get("tools"))

    return build


def echo(request: ScriptedRequest) -> str:
    return request.prompt.upper()


async def test_calls_in_another_order_after_a_crash_get_their_own_answers_and_finished_ones_are_not_made_again(
    subcalls_to: Callable[..., Subcalls], tmp_path: Path
) -> None:
    calls = [query(number, f"p{number}") for number in range(20)]
    with ScriptedServer(echo) as server:
        code = Code(subcalls_to(server), calls)
        code.crash_after = 7
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
            graph = code.graph(saver)
            with pytest.raises(RuntimeError, match="the host dies"):
                await graph.ainvoke({}, CONFIG, durability="sync")
            code.crash_after = None

            result = await graph.ainvoke(None, CONFIG, durability="sync")

        assert [answer["value"] for answer in result["answers"]] == [f"P{number}" for number in range(20)]
        assert server.count == 20
        assert result["usage"].subcalls == 20
        assert result["usage"].input_tokens == sum(len(f"p{n}") // 4 + 1 for n in range(20))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_synchronous_way_keeps_the_same_record(
    subcalls_to: Callable[..., Subcalls], tmp_path: Path, kind: str
) -> None:
    calls = [query(number, f"p{number}") for number in range(20)]
    connection = sqlite3.connect(tmp_path / "runs.sqlite", check_same_thread=False)
    saver: Any = InMemorySaver() if kind == "memory" else SqliteSaver(connection)
    with ScriptedServer(echo) as server:
        code = Code(subcalls_to(server), calls)
        code.crash_after = 7
        graph = code.graph(saver)
        with pytest.raises(RuntimeError, match="the host dies"):
            graph.invoke({}, CONFIG, durability="sync")
        code.crash_after = None

        result = graph.invoke(None, CONFIG, durability="sync")

        assert {answer["error"] for answer in result["answers"]} == {None}
        assert [answer["value"] for answer in result["answers"]] == [f"P{number}" for number in range(20)]
        assert server.count == 20
    connection.close()


async def test_a_call_that_names_its_texts_finds_the_answer_to_one_that_held_them(
    subcalls_to: Callable[..., Subcalls], tmp_path: Path
) -> None:
    held = query(0, "a long text")
    named = held.model_copy(update={"plain": {"prompt": None}, "named": ([{"path": ["prompt"], "context": 1}], None)})
    other = held.model_copy(update={"plain": {"prompt": None}, "named": ([{"path": ["prompt"], "context": 2}], None)})
    with ScriptedServer(echo) as server:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
            code = Code(subcalls_to(server), [held])
            code.crash_after = 1
            with pytest.raises(RuntimeError, match="the host dies"):
                await code.graph(saver).ainvoke({}, CONFIG, durability="sync")
            code.calls, code.crash_after = [named], None

            result = await code.graph(saver).ainvoke(None, CONFIG, durability="sync")
            counted = server.count
            code.calls = [named, other.model_copy(update={"id": 1})]
            await code.graph(saver).ainvoke({}, {"configurable": {"thread_id": "another"}}, durability="sync")

        assert result["answers"][0]["value"] == "A LONG TEXT"
        assert counted == 1
        assert server.count == 3


PROMPTS: list[JsonValue] = [f"p{number}" for number in range(200)]
BATCH = HostCall(id=0, function="llm_query_batched", arguments={"prompts": PROMPTS}, nth=0)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_answers_of_a_batch_are_recorded_while_most_of_its_prompts_wait(
    subcalls_to: Callable[..., Subcalls], tmp_path: Path, kind: str, way: str, request: pytest.FixtureRequest
) -> None:
    gate = threading.Event()
    asked = itertools.count()

    def reply(_: ScriptedRequest) -> ScriptedReply:
        return ScriptedReply("yes", gate=gate if next(asked) >= 24 else None)

    async with AsyncExitStack() as stack:
        server = stack.enter_context(ScriptedServer(reply))
        saver = await _saver(kind, way, tmp_path, request, stack)
        graph = Code(subcalls_to(server), [BATCH]).graph(saver)
        invoke = graph.ainvoke if way == "ainvoke" else partial(asyncio.to_thread, graph.invoke)
        run = asyncio.create_task(invoke({}, CONFIG, durability="sync"))

        while (recorded := await _recorded(saver, way)) < 24 or server.count < 32:  # the test's own limit ends the wait
            await asyncio.sleep(0.01)
        under_way = server.count - recorded
        gate.set()
        result = await run

    assert (recorded, under_way) == (24, 8)
    assert result["answers"][0]["value"] == [{"text": "yes"}] * 200


async def test_where_the_disk_is_slow_no_more_answers_can_be_lost_than_are_under_way_at_once(
    subcalls_to: Callable[..., Subcalls],
) -> None:
    gate = asyncio.Event()
    waiting: list[str] = []

    class Slow(InMemorySaver):
        async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            waiting.append(task_id)
            await gate.wait()
            await super().aput_writes(config, writes, task_id, task_path)

    with ScriptedServer(echo) as server:
        run = asyncio.create_task(
            Code(subcalls_to(server), [BATCH]).graph(Slow()).ainvoke({}, CONFIG, durability="sync")
        )
        while len(waiting) < 8:  # the test's own limit ends the wait
            await asyncio.sleep(0.01)
        asked = server.count
        gate.set()
        result = await run

    assert asked == 8
    assert len(result["answers"][0]["value"]) == 200


async def _saver(kind: str, way: str, folder: Path, request: pytest.FixtureRequest, stack: AsyncExitStack) -> Any:
    if kind == "memory":
        return InMemorySaver()
    if kind == "sqlite":
        path = str(folder / "runs.sqlite")
        if way == "ainvoke":
            return await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
        return stack.enter_context(SqliteSaver.from_conn_string(path))
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    address = request.getfixturevalue("postgres")
    if way == "ainvoke":
        saver: Any = await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(address))
        await saver.setup()
    else:
        saver = stack.enter_context(PostgresSaver.from_conn_string(address))
        saver.setup()
    return saver


async def _recorded(saver: Any, way: str) -> int:
    """Count the answers that the saver has: writes of tasks that have ended."""
    if way == "ainvoke":
        found = [kept async for kept in saver.alist(CONFIG)]
    else:
        found = await asyncio.to_thread(lambda: list(saver.list(CONFIG)))
    return sum(channel == "replies" for kept in found for _, channel, _ in kept.pending_writes or ())


async def test_equal_calls_of_one_cell_stay_separate_answers(subcalls_to: Callable[..., Subcalls]) -> None:
    calls = [query(number, "roll a die", nth=number) for number in range(8)]
    with ScriptedServer(lambda request: str(request.number)) as server:
        code = Code(subcalls_to(server), calls)
        code.crash_after = 8
        graph = code.graph(InMemorySaver())
        with pytest.raises(RuntimeError):
            await graph.ainvoke({}, CONFIG, durability="sync")
        code.crash_after = None

        result = await graph.ainvoke(None, CONFIG, durability="sync")

        assert sorted(answer["value"] for answer in result["answers"]) == [str(n) for n in range(1, 9)]
        assert server.count == 8


async def test_a_batch_asks_again_only_for_what_was_not_answered(subcalls_to: Callable[..., Subcalls]) -> None:
    prompts = [f"p{number}" for number in range(6)]
    batch = HostCall(id=1, function="llm_query_batched", arguments={"prompts": list(prompts)}, nth=0)

    def script(request: ScriptedRequest) -> str | ScriptedReply:
        if request.prompt == "p5" and not healthy:
            return ScriptedReply(status=503, error="overloaded")
        return request.prompt.upper()

    with ScriptedServer(script) as server:
        healthy = False
        code = Code(subcalls_to(server, max_retries=1), [batch])
        graph = code.graph(InMemorySaver())
        first = await graph.ainvoke({}, CONFIG, durability="sync")

        [answer] = first["answers"]
        assert [item.get("text") for item in answer["value"]] == ["P0", "P1", "P2", "P3", "P4", None]
        assert "overloaded" in answer["value"][5]["error"]
        assert len(server.requests_like(lambda request: request.prompt == "p5")) == 2
        assert server.count == 7


async def test_of_a_batch_that_was_cut_off_only_what_is_not_recorded_is_asked_for_and_paid_again(
    subcalls_to: Callable[..., Subcalls],
) -> None:
    batch = HostCall(id=1, function="llm_query_batched", arguments={"prompts": [f"p{n}" for n in range(6)]}, nth=0)

    class LosesOne(InMemorySaver):
        """Keeps all answers but that to the fourth prompt, for which the disk is full the first time."""

        kept = 0
        full = True
        others = asyncio.Event()

        async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            index = next((index for channel, value in writes if channel == "replies" for index in value), None)
            if index == 3 and self.full:
                await self.others.wait()
                self.full = False
                raise OSError("the disk is full")
            await super().aput_writes(config, writes, task_id, task_path)
            self.kept += index is not None
            if self.kept == 5:
                self.others.set()

    with ScriptedServer(echo) as server:
        graph = Code(subcalls_to(server), [batch]).graph(LosesOne())
        with pytest.raises(OSError, match="the disk is full"):
            await graph.ainvoke({}, CONFIG, durability="sync")
        before = server.count
        result = await graph.ainvoke(None, CONFIG, durability="sync")

        assert [item["text"] for item in result["answers"][0]["value"]] == [f"P{number}" for number in range(6)]
        assert [request.prompt for request in server.requests[before:]] == ["p3"]
        assert result["usage"].subcalls == 6


@pytest.mark.parametrize("prompts", [["p0"], ["p0", "p1"]], ids=len)
async def test_a_provider_that_fails_is_asked_as_often_as_the_policy_says_and_each_attempt_counts(
    prompts: list[str],
) -> None:
    batch = HostCall(id=1, function="llm_query_batched", arguments={"prompts": [*prompts]}, nth=0)
    policy = RetryPolicy(max_attempts=4, initial_interval=0, jitter=False)
    with ScriptedServer(lambda request: ScriptedReply(status=503, error="overloaded")) as server:
        model = chat_model("scripted", ModelSettings(base_url=server.url, max_retries=0))
        subcalls = Subcalls(create_subcall({None: model}, retry=policy), max_concurrency=8)

        result = await Code(subcalls, [batch]).graph(None).ainvoke({}, CONFIG)

        assert [request.prompt for request in server.requests].count("p0") == 4
        assert server.count == 4 * len(prompts)
        assert ["overloaded" in item["error"] for item in result["answers"][0]["value"]] == [True] * len(prompts)
        assert result["usage"].subcalls == 4 * len(prompts)


async def test_a_provider_that_recovers_at_the_last_attempt_has_answered() -> None:
    policy = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False)

    def reply(request: ScriptedRequest) -> str | ScriptedReply:
        return "at last" if request.number == 3 else ScriptedReply(status=503, error="overloaded")

    with ScriptedServer(reply) as server:
        model = chat_model("scripted", ModelSettings(base_url=server.url, max_retries=0))
        subcalls = Subcalls(create_subcall({None: model}, retry=policy), max_concurrency=8)

        result = await Code(subcalls, [query(1, "a")]).graph(None).ainvoke({}, CONFIG)

    assert result["answers"][0]["value"] == "at last"


async def test_a_call_over_the_budget_is_refused_in_the_code_and_makes_no_request(
    subcalls_to: Callable[..., Subcalls],
) -> None:
    calls = [query(number, f"p{number}") for number in range(5)]
    with ScriptedServer(echo) as server:
        code = Code(subcalls_to(server), calls, budget=Budget(max_subcalls=3))

        result = await code.graph(InMemorySaver()).ainvoke({}, CONFIG)

        refused = [answer for answer in result["answers"] if answer["error"] is not None]
        assert len(refused) == 2
        assert all(answer["error_type"] == "BudgetExceeded" for answer in refused)
        assert server.count == 3


async def test_time_that_is_over_ends_a_call_that_hangs(subcalls_to: Callable[..., Subcalls]) -> None:
    with ScriptedServer(echo) as server, server.holding(lambda request: True):
        code = Code(subcalls_to(server), [query(1, "slow")], budget=Budget(timeout_s=0.2))

        result = await code.graph(InMemorySaver()).ainvoke({}, CONFIG)

        assert result["answers"][0]["error_type"] == "BudgetExceeded"
        assert "timeout_s" in result["answers"][0]["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": 7}, "string"),
        ({}, "prompt"),
        ({"prompt": "p", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "p", "shell": "rm"}, "shell"),
    ],
)
async def test_arguments_of_a_wrong_kind_are_an_error_in_the_code(
    subcalls_to: Callable[..., Subcalls], arguments: dict[str, Any], words: str
) -> None:
    call = HostCall(id=1, function="llm_query", arguments=arguments, nth=0)
    with ScriptedServer(echo) as server:
        result = await Code(subcalls_to(server), [call]).graph(InMemorySaver()).ainvoke({}, CONFIG)

        assert result["answers"][0]["error_type"] == "TypeError"
        assert words in result["answers"][0]["error"]
        assert server.count == 0


async def test_code_may_name_only_a_model_that_the_run_was_given(subcalls_to: Callable[..., Subcalls]) -> None:
    calls = [query(1, "a", model="scripted"), query(2, "b", model="openai/o9-expensive")]
    with ScriptedServer(echo) as server:
        result = await Code(subcalls_to(server), calls).graph(InMemorySaver()).ainvoke({}, CONFIG)

        assert result["answers"][0]["value"] == "A"
        assert "there are: scripted" in result["answers"][1]["error"]
        assert server.count == 1


async def test_a_system_prompt_and_a_token_limit_reach_the_provider(subcalls_to: Callable[..., Subcalls]) -> None:
    with ScriptedServer(echo) as server:
        code = Code(subcalls_to(server), [query(1, "a", system="be brief", max_tokens=7)])
        await code.graph(InMemorySaver()).ainvoke({}, CONFIG)

        [request] = server.requests
        assert request.messages[0] == {"role": "system", "content": "be brief"}
        assert request.body["max_tokens"] == 7


@tool
def divide(a: int, b: int) -> float:
    """Divide a by b."""
    calls_of_divide.append((a, b))
    return a / b


calls_of_divide: list[tuple[int, int]] = []


async def test_a_tool_is_called_once_and_its_exception_reaches_the_code(subcalls_to: Callable[..., Subcalls]) -> None:
    calls = [
        HostCall(id=1, function="divide", arguments={"a": 6, "b": 3}, nth=0),
        HostCall(id=2, function="divide", arguments={"a": 1, "b": 0}, nth=0),
        HostCall(id=3, function="divide", arguments={"a": "x", "b": 1}, nth=0),
    ]
    calls_of_divide.clear()
    with ScriptedServer(echo) as server:
        code = Code(subcalls_to(server, tools=host_functions([divide])), calls)
        code.crash_after = 3
        graph = code.graph(InMemorySaver())
        with pytest.raises(RuntimeError):
            await graph.ainvoke({}, CONFIG, durability="sync")
        code.crash_after = None
        result = await graph.ainvoke(None, CONFIG, durability="sync")

    good, by_zero, malformed = result["answers"]
    assert good["value"] == 2.0
    assert by_zero["error_type"] == "ZeroDivisionError"
    assert malformed["error_type"] == "ValueError"
    assert sorted(calls_of_divide) == [(1, 0), (6, 3)]


async def test_prompts_are_not_recorded(subcalls_to: Callable[..., Subcalls], tmp_path: Path) -> None:
    needle = "a-needle-in-the-prompt"
    path = tmp_path / "runs.sqlite"
    with ScriptedServer(lambda request: "short") as server:
        calls = [
            query(1, needle),
            HostCall(id=2, function="llm_query_batched", arguments={"prompts": [needle, needle + "2"]}, nth=0),
        ]
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            await Code(subcalls_to(server), calls).graph(saver).ainvoke({}, CONFIG)

    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert server.count == 3
    assert b"short" in stored
    assert needle.encode() not in stored


PIXEL = "data:image/png;base64,iVBORw0KGgo="


SOUND = "data:audio/wav;base64,UklGRg=="


async def test_images_and_sounds_go_only_to_a_model_that_may_read_them() -> None:
    calls = [query(1, "a", images=[PIXEL]), query(2, "b", audio=[SOUND])]
    with ScriptedServer(echo) as server:
        settings = ModelSettings(base_url=server.url, max_retries=0)

        async def asked(model: str) -> list[Any]:
            graph = create_subcall({None: chat_model(model, settings)}, retry=retry_policy(settings))
            result = await Code(Subcalls(graph, max_concurrency=1), calls).graph(None).ainvoke({}, CONFIG)
            answers: list[Any] = result["answers"]
            return answers

        seeing, unknown = await asked("openai/gpt-4o-mini"), await asked("openai/nobody-knows-it")
        deaf_and_blind = await asked("openai/gpt-3.5-turbo")

        assert (seeing[0]["value"], seeing[1]["error"]) == ("A", "openai/gpt-4o-mini does not hear sounds")
        assert [answer["value"] for answer in unknown] == ["A", "B"]
        assert "does not read images" in deaf_and_blind[0]["error"]
        media = [request.messages[0]["content"][1] for request in server.requests]
        assert [each["image_url"]["url"] for each in media if "image_url" in each] == [PIXEL, PIXEL]
        assert [each["input_audio"] for each in media if "input_audio" in each] == [
            {"data": "UklGRg==", "format": "wav"}
        ]


async def test_an_image_by_its_address_is_refused_for_it_could_carry_data_out(
    subcalls_to: Callable[..., Subcalls],
) -> None:
    calls = [query(1, "a", images=["https://example.com/?secret"])]
    with ScriptedServer(echo) as server:
        result = await Code(subcalls_to(server), calls).graph(None).ainvoke({}, CONFIG)

        assert result["answers"][0]["error_type"] == "TypeError"
        assert server.count == 0


async def test_a_function_that_this_run_does_not_have_is_an_error_in_the_code(
    subcalls_to: Callable[..., Subcalls],
) -> None:
    call = HostCall(id=1, function="memory", arguments={"op": "get", "key": "k"}, nth=0)
    with ScriptedServer(echo) as server:
        result = await Code(subcalls_to(server), [call]).graph(None).ainvoke({}, CONFIG)

    assert "not available in this run" in result["answers"][0]["error"]


async def test_an_answer_that_a_cell_asks_for_again_after_it_was_charged_costs_nothing_more(
    subcalls_to: Callable[..., Subcalls],
) -> None:
    spent: list[Usage] = []
    with ScriptedServer(echo) as server:
        subcalls = subcalls_to(server)

        async def act(state: Done) -> Done:
            ledger = Ledger(Budget(), Usage())
            scope = subcalls.within(ledger, get_config())
            await scope.charge_recorded()  # what the act had answered when it ran before
            await scope.serve(1, query(1, "a"))  # the answer that had not reached the cell
            spent.append(ledger.spent)
            if len(spent) == 1:
                raise RuntimeError("the host dies")
            return {"usage": ledger.spent}

        graph = StateGraph(Done).add_node("act", runnables.node(act)).add_edge(START, "act")
        compiled: Any = graph.compile(checkpointer=InMemorySaver())
        with pytest.raises(RuntimeError, match="the host dies"):
            await compiled.ainvoke({}, CONFIG, durability="sync")
        await compiled.ainvoke(None, CONFIG, durability="sync")

    assert server.count == 1
    assert spent[0] == spent[1] != Usage()


async def test_contexts_that_would_fill_the_memory_of_the_host_are_an_error_in_the_code_at_the_last_level(
    subcalls_to: Callable[..., Subcalls], tmp_path: Path
) -> None:
    named = stored(tmp_path / "context", "a text").model_copy(update={"bytes": 3 << 30})
    handed = tuple(HandedText(("contexts", index), WholeContext(named, tmp_path / "context")) for index in range(2))
    call = HostCall(
        id=1, function="rlm_query_batched", arguments={"questions": ["q"] * 2, "contexts": [""] * 2}, nth=0,
        handed=handed,
    )  # fmt: skip
    with ScriptedServer(echo) as server:
        code = Code(subcalls_to(server), [call], budget=Budget(max_depth=0))
        result = await code.graph(InMemorySaver()).ainvoke({}, CONFIG)
        code.calls = [
            call.model_copy(update={"handed": handed[:1], "arguments": {"questions": ["q"], "contexts": [""]}})
        ]
        smaller = await code.graph(InMemorySaver()).ainvoke({}, CONFIG)

    assert "ask in parts" in result["answers"][0]["error"]
    assert smaller["answers"][0]["value"] == [{"text": "A TEXT\n\nQ"}]
