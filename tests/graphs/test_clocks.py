"""Code that puts the time, or what it draws by chance, into its prompts asks nothing anew after a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import ContextStore, LocalSettings
from rlm_graph.executors.local import LocalExecutor
from tests.graphs.test_order_of_answers import Sub, killed, run_of
from tests.graphs.test_resume import kill_workers

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(300)]

NOW = """
import datetime, os, time, uuid
def now():
    drawn = f"{uuid.uuid4()} {uuid.uuid1()} {os.urandom(4).hex()}"
    return f"{datetime.datetime.now()} {time.time()} {time.perf_counter_ns()} {time.strftime('%X')} {drawn}"
"""
CODE = {
    "one after another": """
begun = now()
said = [llm_query(f"part {n}, {now()}, since {begun}") for n in range(10)]
FINAL(len(said))
""",
    "threads": """
from concurrent.futures import ThreadPoolExecutor, as_completed
def ask(n):
    return llm_query(f"part {n}, {now()}, since {begun}")
begun, said = now(), []
with ThreadPoolExecutor(4) as pool:
    for done in as_completed([pool.submit(ask, n) for n in range(10)]):
        said.append(done.result())
        said.append(llm_query(f"so far {len(said)}, {now()}: {said}"))
FINAL(len(said))
""",
    "threads that go on": """
import threading
begun, said = now(), []
def chain(name):
    text = ""
    for step in range(4):
        text = llm_query(f"{name} {step}, {now()} {begun} {text}")
    said.append(text)
threads = [threading.Thread(target=chain, args=(f"chain {n}",)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
FINAL(16)
""",
    "asyncio": """
import asyncio
begun, said = now(), []
async def ask(n):
    return await asyncio.to_thread(llm_query, f"part {n}, {now()}, since {begun}")
for done in asyncio.as_completed([ask(n) for n in range(10)]):
    said.append(await done)
    said.append(await asyncio.to_thread(llm_query, f"so far {len(said)}, {now()}: {said}"))
FINAL(len(said))
""",
    "a batch": """
begun = now()
said = llm_query_batched([f"part {n}, {now()}, since {begun}" for n in range(10)])
said.append(llm_query(f"after, {now()}, {said}"))
FINAL(len(said))
""",
    "a cell that used up what is kept of a clock": """
for _ in range(2_000):
    time.perf_counter()
begun = datetime.datetime.now()
said = [llm_query(f"part {n}, {datetime.datetime.now()}, since {begun}") for n in range(10)]
FINAL(len(said))
""",
}
WIDTH = {"threads": 5, "threads that go on": 4, "asyncio": 11}
"""Calls that may be under way at once, if they are more than one."""
AT = {"threads": 12, "threads that go on": 9, "asyncio": 14, "a batch": 11}
"""The request at which a trial is killed first, if it is not the sixth."""
TRIALS = 4


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "repls")
    yield executor
    kill_workers(executor)


def asked_again(sub: Sub) -> int:
    """Return how often something was asked that had been asked before: at whatever time it is then."""
    parts = Counter(prompt.partition(",")[0] for prompt in sub.asked)
    return len(sub.asked) - len(parts)


@pytest.mark.parametrize("name", CODE)
async def test_prompts_that_hold_the_time_are_the_same_after_a_crash(
    contexts: ContextStore, executor: LocalExecutor, tmp_path: Path, name: str
) -> None:
    for trial in range(TRIALS):
        sub = Sub(trial)
        async with (
            AsyncSqliteSaver.from_conn_string(str(tmp_path / f"runs-{trial}.sqlite")) as saver,
            run_of(NOW + CODE[name], sub, saver, executor, contexts) as run,
        ):
            at = AT.get(name, 6) + (0 if name == "a batch" else trial)
            await killed(run({"question": "Go."}), sub, at, lambda: kill_workers(executor))

            result = await run(None)

        assert len(sub.asked) - asked_again(sub) == result["answer"].value
        assert asked_again(sub) <= WIDTH.get(name, 1), (trial, sub.asked)


async def test_a_run_that_is_killed_again_and_again_asks_only_what_was_under_way(
    contexts: ContextStore, executor: LocalExecutor, tmp_path: Path
) -> None:
    sub = Sub(0)
    async with (
        AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver,
        run_of(NOW + CODE["one after another"], sub, saver, executor, contexts) as run,
    ):
        await killed(run({"question": "Go."}), sub, 3, lambda: kill_workers(executor))
        await killed(run(None), sub, 6, lambda: None)  # the REPL goes on with another host
        await killed(run(None), sub, 8, lambda: kill_workers(executor))

        result = await run(None)

    assert result["answer"].value == 10
    assert asked_again(sub) <= 3, sub.asked


async def test_a_time_that_another_cell_has_read_is_the_same_too(
    contexts: ContextStore, executor: LocalExecutor, tmp_path: Path
) -> None:
    earlier = "met = globals().get('met', 0) + 1\nif met == 1: first = now()"
    last = (
        "answer_to = [llm_query(f'part {met} {n}, {first} {second} {now()}') for n in range(5)]\nif met == 2: FINAL(10)"
    )
    code = "\n```\n\n```repl\n".join([NOW + earlier, "second = now()", last])
    sub = Sub(0)
    async with (
        AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver,
        run_of(code, sub, saver, executor, contexts) as run,
    ):
        # In the second turn, whose last cell has three answers then; the first turn has ended and is replayed.
        await killed(run({"question": "Go."}), sub, 9, lambda: kill_workers(executor))

        result = await run(None)

    assert result["answer"].value == 10
    assert asked_again(sub) <= 1, sub.asked
