"""Loops whose calls are begun ahead, in whole runs: many are under way, and what is recorded is the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, ContextStore, LocalSettings, create_rlm_agent
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.models import chat_model
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedModel, ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl
from tests.graphs.test_order_of_answers import killed
from tests.graphs.test_resume import kill_workers

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(300)]

LOOP = "answers = []\nfor n in range(40):\n    answers.append(llm_query(f'part {n}'))\n    print(n)\n"
EARLY = (
    "try:\n    for n in range(60):\n        x = llm_query(f'early {n}')\n        print(1 // (5 - n))\n"
    "except ZeroDivisionError:\n    pass\n"
)


class Sub:
    """A sub-model that notes what it is asked, and how much at once; it answers nothing until `together` are asked."""

    def __init__(self, together: int = 1) -> None:
        self.asked: list[str] = []
        self.most = self._under_way = 0
        self._together = threading.Barrier(together)
        self._left = together if together > 1 else 0
        self._lock = threading.Lock()

    def __call__(self, request: ScriptedRequest) -> ScriptedReply:
        with self._lock:
            self.asked.append(request.prompt)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            waits, self._left = self._left > 0, self._left - 1
        if waits:
            self._together.wait(60)
        with self._lock:
            self._under_way -= 1
        return ScriptedReply(f"<{request.prompt}>")

    async def answered_until(self, number: int) -> None:
        """Wait until it is asked the request of that number."""
        while len(self.asked) < number:  # the test's own limit ends the wait
            await asyncio.sleep(0.001)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "repls")
    yield executor
    kill_workers(executor)


@pytest.fixture
def agents(contexts: ContextStore, executor: LocalExecutor, tmp_path: Path) -> Any:
    """Opens a run whose root writes these cells, one a turn; what is yielded takes it up, with the setting or not."""

    @asynccontextmanager
    async def opened(
        sub: Sub, *cells: str, **models: Any
    ) -> AsyncIterator[Callable[[Any, bool], Awaitable[dict[str, Any]]]]:
        with ScriptedServer(sub) as server:
            async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:

                def run(given: Any, on: bool) -> Awaitable[dict[str, Any]]:
                    settings = ModelSettings(base_url=server.url, max_retries=0, batch_loops=on, **models)

                    def root(messages: Any) -> str:
                        turn = sum(message.type == "ai" for message in messages)
                        return repl(cells[min(turn, len(cells) - 1)])

                    graph = create_rlm_agent(
                        ScriptedModel(root),
                        sub_model=chat_model("openai/sub", settings),
                        checkpointer=saver,
                        executor=executor,
                        options=AgentOptions(contexts=contexts, models=settings, strict_replay=True),
                    )
                    return graph.ainvoke(given, {"configurable": {"thread_id": "a run"}})

                yield run

    return opened


@pytest.mark.parametrize("code", [LOOP + "FINAL(answers)", "FINAL([llm_query(f'part {n}') for n in range(40)])"])
async def test_many_calls_of_a_loop_are_under_way_at_once(agents: Any, code: str) -> None:
    sub = Sub(together=32)
    async with agents(sub, code) as run:
        result = await run({"question": "Go."}, True)

    assert result["answer"].value == [f"<part {n}>" for n in range(40)]
    assert sorted(sub.asked) == sorted(f"part {n}" for n in range(40))


async def test_one_is_under_way_without_the_setting(agents: Any) -> None:
    sub = Sub()
    async with agents(sub, LOOP + "FINAL(answers)") as run:
        await run({"question": "Go."}, False)

    assert sub.most == 1
    assert sub.asked == [f"part {n}" for n in range(40)]


async def test_no_more_are_under_way_than_of_a_batch(agents: Any) -> None:
    sub = Sub(together=3)
    async with agents(sub, LOOP + "FINAL(answers)", max_concurrency=3) as run:
        await run({"question": "Go."}, True)

    assert sub.most == 3


@pytest.mark.parametrize("on", [True, False], ids=["begun with it", "begun without it"])
@pytest.mark.parametrize("then", [True, False], ids=["taken up with it", "taken up without it"])
async def test_a_run_is_taken_up_with_or_without_it_and_asks_nothing_again(
    agents: Any, executor: LocalExecutor, on: bool, then: bool
) -> None:
    sub = Sub()
    code = EARLY + LOOP
    async with agents(sub, code, "FINAL([*answers, *[llm_query(f'last {n}') for n in range(9)]])") as run:
        first = 46 + (31 if on else 0)  # none of which the end of the first cell leaves under way
        await killed(run({"question": "Go."}, on), sub, first + 1, lambda: kill_workers(executor))
        before = [prompt for prompt in sub.asked if not prompt.startswith("last")]

        result = await run(None, then)

    assert len(result["answer"].value) == 49
    assert len(before) == len(set(before)) == first
    assert [prompt for prompt in sub.asked if not prompt.startswith("last")] == before


@pytest.mark.parametrize("on", [True, False], ids=["begun with it", "begun without it"])
@pytest.mark.parametrize("then", [True, False], ids=["taken up with it", "taken up without it"])
async def test_a_loop_that_was_cut_off_asks_only_what_has_no_recorded_answer(
    agents: Any, executor: LocalExecutor, on: bool, then: bool
) -> None:
    sub = Sub()
    async with agents(sub, LOOP + "FINAL(answers)") as run:
        await killed(run({"question": "Go."}, on), sub, 20, lambda: kill_workers(executor))

        result = await run(None, then)

    assert result["answer"].value == [f"<part {n}>" for n in range(40)]
    assert set(sub.asked) == {f"part {n}" for n in range(40)}
    assert len(sub.asked) <= 40 + (32 if on else 1)


async def test_a_loop_that_waits_for_a_human_is_not_begun_ahead(
    contexts: ContextStore, executor: LocalExecutor, tmp_path: Path
) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = create_rlm_agent(
            ScriptedModel([repl(LOOP)]),
            checkpointer=saver,
            executor=executor,
            interrupt_on="subcalls",
            options=AgentOptions(contexts=contexts),
        )
        result = await graph.ainvoke({"question": "Go."}, {"configurable": {"thread_id": "a run"}})

    assert len(result["__interrupt__"]) == 1
