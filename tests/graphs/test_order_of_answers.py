"""A replayed cell gets its answers in the order in which they came, so that it asks nothing that it has not asked."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, ContextStore, LocalSettings, create_rlm_agent
from rlm_graph.executors.base import Executor
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.models import chat_model
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedModel, ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl
from tests.graphs.test_resume import kill_workers

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(300)]

CODE = {
    "threads": """
from concurrent.futures import ThreadPoolExecutor, as_completed
said = []
with ThreadPoolExecutor(6) as pool:
    for done in as_completed([pool.submit(llm_query, f"part {n}") for n in range(10)]):
        said.append(done.result())
        said.append(llm_query("so far: " + "; ".join(said)))
FINAL(said)
""",
    "asyncio": """
import asyncio
said = []
for done in asyncio.as_completed([asyncio.to_thread(llm_query, f"part {n}") for n in range(10)]):
    said.append(await done)
    said.append(await asyncio.to_thread(llm_query, "so far: " + "; ".join(said)))
FINAL(said)
""",
    "first of several": """
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
said = []
with ThreadPoolExecutor(10) as pool:
    left = {pool.submit(llm_query, f"part {n}") for n in range(10)}
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        said.extend(sorted(each.result() for each in done))
        said.append(llm_query("so far: " + "; ".join(said)))
FINAL(said)
""",
    "one after another in each thread": """
import queue, threading
come, said = queue.Queue(), []
def chain(name):
    text = ""
    for step in range(3):
        text = llm_query(f"{name} {step} {text}")
        come.put(text)
threads = [threading.Thread(target=chain, args=(f"chain {n}",)) for n in range(4)]
for thread in threads:
    thread.start()
for n in range(12):
    said.append(come.get())
    if n % 2:
        said.append(llm_query("so far: " + "; ".join(said)))
FINAL(said)
""",
    "batches, tools and an agent beside calls": """
from concurrent.futures import ThreadPoolExecutor, as_completed
def batch(n):
    return " ".join(llm_query_batched([f"batch {n} {m}" for m in range(3)]))
def weigh(n):
    return str(weight(n=n))
said = []
with ThreadPoolExecutor(9) as pool:
    work = [pool.submit(batch, 1), pool.submit(batch, 2), pool.submit(rlm_query, "Ask the child.")]
    work += [pool.submit(weigh, n) for n in range(3)]
    work += [pool.submit(llm_query, f"part {n}") for n in range(3)]
    for done in as_completed(work):
        said.append(done.result())
        said.append(llm_query("so far: " + "; ".join(said)))
FINAL([*said, *range(4)])  # as many as the sub-model is asked: the tool's three are not, and seven more in all
""",
}
"""Code that builds its prompts from the answers in the order in which they come. Its answer has as many parts as it
has asked prompts."""

CHILD = """
from concurrent.futures import ThreadPoolExecutor, as_completed
with ThreadPoolExecutor(3) as pool:
    said = [done.result() for done in as_completed([pool.submit(llm_query, f"child {n}") for n in range(3)])]
FINAL(llm_query("child said: " + "; ".join(said)))
"""
TRIALS = 16


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "repls")
    yield executor
    kill_workers(executor)


class Sub:
    """A sub-model that takes its time, and answers no two requests alike."""

    def __init__(self, seed: int) -> None:
        self.asked: list[str] = []
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, request: ScriptedRequest) -> ScriptedReply:
        if request.messages[0]["role"] == "system":  # it is the model of the agent below too
            return ScriptedReply(repl(CHILD))
        with self._lock:
            self.asked.append(request.prompt)
            return ScriptedReply(f"<{len(request.prompt)} {request.number}>", delay_s=self._chance.random() * 0.01)

    async def answered_until(self, number: int) -> None:
        """Wait until it is asked the request of that number."""
        while len(self.asked) < number:  # the test's own limit ends the wait
            await asyncio.sleep(0.001)


def weight(n: int) -> float:
    """Return how heavy that one is."""
    return n / 4


@asynccontextmanager
async def run_of(
    code: str,
    sub: Sub,
    saver: BaseCheckpointSaver[Any],
    executor: Executor,
    contexts: ContextStore,
    *,
    thread: str = "a run",
) -> AsyncIterator[Callable[[Any], Awaitable[dict[str, Any]]]]:
    """A run whose root writes `code` whenever it is asked; what is yielded starts it, or takes it up."""

    with ScriptedServer(sub) as server:
        graph = create_rlm_agent(
            ScriptedModel(lambda _: repl(code)),
            sub_model=chat_model("openai/sub", ModelSettings(base_url=server.url, max_retries=0)),
            tools=[weight],
            checkpointer=saver,
            executor=executor,
            options=AgentOptions(contexts=contexts),
        )
        yield lambda given: graph.ainvoke(given, {"configurable": {"thread_id": thread}})


async def killed(work: Awaitable[Any], sub: Sub, at: int, lose: Callable[[], None]) -> None:
    """End a run that is under way when the sub-model is asked the request of that number, and lose its REPL."""
    running = asyncio.ensure_future(work)
    reached = asyncio.ensure_future(sub.answered_until(at))
    await asyncio.wait([running, reached], return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), "it ended before"
    running.cancel()
    await asyncio.wait([running])
    lose()


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
async def test_code_that_goes_by_the_order_of_its_answers_asks_nothing_new_after_a_crash(
    contexts: ContextStore, executor: LocalExecutor, tmp_path: Path, code: str
) -> None:
    for trial in range(TRIALS if code == CODE["threads"] else 4):
        sub = Sub(trial)
        async with (
            AsyncSqliteSaver.from_conn_string(str(tmp_path / f"runs-{trial}.sqlite")) as saver,
            run_of(code, sub, saver, executor, contexts) as run,
        ):
            await killed(run({"question": "Go."}), sub, 4 + trial * 5 % 8, lambda: kill_workers(executor))

            result = await run(None)

        assert len(set(sub.asked)) == len(result["answer"].value), (trial, sub.asked)


@pytest.mark.postgres
async def test_on_postgresql_too(contexts: ContextStore, executor: LocalExecutor, postgres: str) -> None:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    async with AsyncPostgresSaver.from_conn_string(postgres) as saver:
        await saver.setup()
        for trial in range(TRIALS):
            sub = Sub(trial)
            async with run_of(CODE["threads"], sub, saver, executor, contexts, thread=f"run {trial}") as run:
                await killed(run({"question": "Go."}), sub, 4 + trial, lambda: kill_workers(executor))

                await run(None)

            assert len(set(sub.asked)) == 20, (trial, sub.asked)


@pytest.mark.docker
async def test_in_a_container_too(contexts: ContextStore, tmp_path: Path, docker_image: str) -> None:
    from rlm_graph import DockerSettings
    from rlm_graph.executors.docker import DockerExecutor

    started: list[str] = []

    class Noting(DockerExecutor):
        async def start(self, name: str, tools: Sequence[str]) -> SupervisedRepl | None:
            started.append(name)
            return await super().start(name, tools)

    executor = Noting(DockerSettings(image=docker_image, pull=False))
    for trial in range(TRIALS // 4):
        sub = Sub(trial)
        async with (
            AsyncSqliteSaver.from_conn_string(str(tmp_path / f"runs-{trial}.sqlite")) as saver,
            run_of(CODE["threads"], sub, saver, executor, contexts) as run,
        ):
            await killed(run({"question": "Go."}), sub, 7 + trial, lambda: None)
            for sandbox in await executor.list():
                if sandbox.handle.id in started:
                    await executor.close(sandbox.handle)

            result = await run(None)

        assert len(set(sub.asked)) == len(result["answer"].value), (trial, sub.asked)
    assert len(started) == 2 * TRIALS // 4


@pytest.mark.parametrize("lost_first", [False, True], ids=["the REPL lives at first", "the REPL is lost at first"])
async def test_a_run_that_is_killed_twice_asks_nothing_new_either(
    contexts: ContextStore, executor: LocalExecutor, tmp_path: Path, lost_first: bool
) -> None:
    for trial in range(TRIALS // 4):
        sub = Sub(trial)
        async with (
            AsyncSqliteSaver.from_conn_string(str(tmp_path / f"runs-{trial}.sqlite")) as saver,
            run_of(CODE["threads"], sub, saver, executor, contexts) as run,
        ):
            first = (lambda: kill_workers(executor)) if lost_first else (lambda: None)
            await killed(run({"question": "Go."}), sub, 7 + trial % 4, first)
            await killed(run(None), sub, len(sub.asked) + 4, lambda: kill_workers(executor))

            await run(None)

        assert len(set(sub.asked)) == 20, (trial, sub.asked)


async def test_cells_that_have_ended_are_replayed_in_their_order(
    contexts: ContextStore, executor: LocalExecutor, tmp_path: Path
) -> None:
    code = CODE["threads"].replace("FINAL(said)", "if 'met' in globals(): FINAL(met + said)\nmet = said")
    for trial in range(TRIALS // 4):
        sub = Sub(trial)
        async with (
            AsyncSqliteSaver.from_conn_string(str(tmp_path / f"runs-{trial}.sqlite")) as saver,
            run_of(code, sub, saver, executor, contexts) as run,
        ):
            await killed(run({"question": "Go."}), sub, 24 + trial, lambda: kill_workers(executor))

            result = await run(None)

        turns = result["answer"].value
        assert (len(set(sub.asked)), len(turns)) == (30, 40), (trial, sub.asked)


async def test_code_that_asks_otherwise_than_before_is_not_waited_for(
    contexts: ContextStore, executor: LocalExecutor, tmp_path: Path
) -> None:
    code = """
import os, threading
answers = []
def ask(prompt):
    answers.append(llm_query(prompt))
first = threading.Thread(target=ask, args=(f"in process {os.getpid()}",))
first.start()
first.join()
second = threading.Thread(target=ask, args=("always",))
second.start()
second.join()
FINAL([*answers, llm_query("last")])
"""
    sub = Sub(0)
    async with (
        AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver,
        run_of(code, sub, saver, executor, contexts) as run,
    ):
        await killed(run({"question": "Go."}), sub, 3, lambda: kill_workers(executor))

        result = await run(None)

    assert len(result["answer"].value) == 3
    assert sub.asked[1:3] == ["always", "last"]
    assert "always" not in sub.asked[3:]
