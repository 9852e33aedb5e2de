"""A replayed cell gets its answers in the order in which they came, so that it asks nothing that it has not asked."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, ContextStore, LocalSettings, create_rlm_agent
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.models import chat_model
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedModel, ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl
from tests.graphs.test_resume import kill_workers

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(300)]

THREADS = """
from concurrent.futures import ThreadPoolExecutor, as_completed
said = []
with ThreadPoolExecutor(6) as pool:
    for done in as_completed([pool.submit(llm_query, f"part {n}") for n in range(10)]):
        said.append(done.result())
        said.append(llm_query("so far: " + "; ".join(said)))
FINAL(said)
"""


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "repls")
    yield executor
    kill_workers(executor)


class Sub:
    """A sub-model that takes its time, answers equal prompts differently, and is asked until `stop_at` requests came."""

    def __init__(self, seed: int, *, stop_at: int) -> None:
        self.asked: list[str] = []
        self._chance = random.Random(seed)
        self._stop_at = stop_at
        self.reached = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, request: ScriptedRequest) -> ScriptedReply:
        with self._lock:
            self.asked.append(request.prompt)
            if len(self.asked) == self._stop_at:
                self.reached.set()
            reply = ScriptedReply(f"<{len(request.prompt)} {request.number}>", delay_s=self._chance.random() * 0.01)
        return reply


@pytest.mark.parametrize("trial", range(16))
async def test_as_completed(contexts: ContextStore, executor: LocalExecutor, tmp_path: Path, trial: int) -> None:
    sub = Sub(trial, stop_at=4 + trial)
    with ScriptedServer(sub) as server:
        model = chat_model("openai/sub", ModelSettings(base_url=server.url, max_retries=0))
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
            graph = create_rlm_agent(
                ScriptedModel([repl(THREADS)] * 2), sub_model=model, checkpointer=saver, executor=executor,
                options=AgentOptions(contexts=contexts),
            )
            run = asyncio.create_task(graph.ainvoke({"question": "Go."}, CONFIG))
            await asyncio.to_thread(sub.reached.wait)
            run.cancel()
            await asyncio.wait([run])
            kill_workers(executor)
            before = list(sub.asked)
            result = await graph.ainvoke(None, CONFIG)
    print(trial, len(before), len(sub.asked), len(set(sub.asked)), result["usage"].subcalls)
    assert len(set(sub.asked)) == 20
