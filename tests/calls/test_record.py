"""What is written for a call, how much of it, and what a later process makes of it."""

from __future__ import annotations

import asyncio
import copy
import math
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from rlm_graph import AgentOptions, ContextStore, create_rlm_agent
from rlm_graph.settings import ModelSettings
from rlm_graph.storage.runs import Runs
from rlm_graph.testing import ScriptedModel, ScriptedReply, ScriptedRequest, ScriptedServer

CONFIG: Any = {"configurable": {"thread_id": "t"}}


def scripted(code: str, answer: Callable[[ScriptedRequest], Any]) -> Callable[[ScriptedRequest], Any]:
    def reply(request: ScriptedRequest) -> Any:
        return f"```repl\n{code}\n```" if request.model == "root" else answer(request)

    return reply


def options(server: ScriptedServer, folder: Path, **given: Any) -> AgentOptions:
    return AgentOptions(
        models=ModelSettings(base_url=server.url, max_retries=0), contexts=ContextStore(folder / "contexts"), **given
    )


async def rows_of(tmp_path: Path, code: str) -> tuple[list[Any], list[Any]]:
    """Run the code and return what lies below its act: the rows of checkpoints, and those of writes."""
    with ScriptedServer(scripted(code, lambda request: "yes")) as server:
        async with Runs.open(tmp_path / "runs.sqlite") as runs:
            agent = create_rlm_agent(
                "openai/root", sub_model="openai/sub", checkpointer=runs.saver, options=options(server, tmp_path)
            )
            await agent.ainvoke({"question": "?"}, CONFIG)
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as connection:
        below = "WHERE checkpoint_ns LIKE 'act:%'"
        checkpoints = connection.execute(f"SELECT * FROM checkpoints {below}").fetchall()
        return checkpoints, connection.execute(f"SELECT * FROM writes {below}").fetchall()


def size(rows: list[Any]) -> int:
    return sum(len(value) if isinstance(value, (str, bytes)) else 8 for row in rows for value in row)


async def test_a_call_of_one_prompt_is_one_row_of_under_two_kilobytes(tmp_path: Path) -> None:
    checkpoints, writes = await rows_of(tmp_path, "for n in range(20): llm_query(f'Is {n} odd?')\nFINAL('x')")

    assert (len(checkpoints), len(writes)) == (20, 0)
    assert size(checkpoints) / 20 < 2_000


async def test_a_batch_is_a_row_and_one_of_under_a_kilobyte_for_each_answer(tmp_path: Path) -> None:
    checkpoints, writes = await rows_of(tmp_path, "llm_query_batched([f'Is {n} odd?' for n in range(100)])\nFINAL('x')")

    assert (len(checkpoints), len(writes)) == (1, 100)
    assert size(writes) / 100 < 1_000


async def test_answers_that_are_recorded_are_neither_asked_nor_approved_again_where_calls_must_wait_from_now_on(
    tmp_path: Path,
) -> None:
    dies = True
    all_asked, came = threading.Event(), set[str]()

    def answer(request: ScriptedRequest) -> Any:
        came.add(request.prompt)
        if len(came) == 4:
            all_asked.set()
        fails = dies and request.prompt == "p2"
        return ScriptedReply(status=400, gate=all_asked) if fails else request.prompt.upper()

    code = "FINAL(llm_query_batched(['p0', 'p1', 'p2', 'p3']))"
    saver = _FailsOnce()
    with ScriptedServer(scripted(code, answer)) as server:

        def agent(**given: Any) -> Any:
            return create_rlm_agent(
                "openai/root", sub_model="openai/sub", checkpointer=saver, options=options(server, tmp_path), **given
            )

        with pytest.raises(OSError, match="the disk is full"):
            await agent().ainvoke({"question": "?"}, CONFIG)
        asked_before = [request.prompt for request in server.requests if request.model == "sub"]
        dies = False
        paused = await agent(interrupt_on="subcalls").ainvoke(None, CONFIG)
        waiting = [each.value["preview"] for each in paused["__interrupt__"]]
        result = await agent(interrupt_on="subcalls").ainvoke(
            Command(resume={each.id: True for each in paused["__interrupt__"]}), CONFIG
        )
        asked = [request.prompt for request in server.requests if request.model == "sub"]

    assert sorted(asked_before) == ["p0", "p1", "p2", "p3"]
    assert "p2" in waiting
    assert result["answer"].value == ["P0", "P1", "P2", "P3"]
    assert sorted(asked) == sorted([*asked_before, *waiting])


def in_process(code: str, answer: Callable[[str], str], saver: InMemorySaver) -> Any:
    return create_rlm_agent(
        ScriptedModel(lambda _: f"```repl\n{code}\n```"),
        sub_model=ScriptedModel(lambda messages: answer(messages[-1].text)),
        checkpointer=saver,
    )


@pytest.mark.parametrize("prompts", [1, 3])
async def test_an_answer_that_has_come_is_recorded_though_the_run_is_left_meanwhile(prompts: int) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return prompt.upper()

    saver = _Waits()
    agent = in_process(f"FINAL(llm_query_batched([f'p{{n}}' for n in range({prompts})]))", answer, saver)
    run = asyncio.create_task(agent.ainvoke({"question": "?"}, CONFIG))
    await saver.reached.wait()
    run.cancel()
    await asyncio.sleep(0)
    saver.released.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    result = await agent.ainvoke(None, CONFIG)

    assert result["answer"].value == [f"P{number}" for number in range(prompts)]
    assert sorted(asked) == [f"p{number}" for number in range(prompts)]


class _Waits(InMemorySaver):
    """Keeps no record of a call until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    def with_allowlist(self, extra_allowlist: Any) -> Any:
        allowing = super().with_allowlist(extra_allowlist)
        vars(allowing).update(reached=self.reached, released=self.released)
        return allowing

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        if "llm_query" in config["configurable"]["checkpoint_ns"]:
            self.reached.set()
            await self.released.wait()
        return await super().aput(config, checkpoint, metadata, new_versions)


class _FailsOnce(InMemorySaver):
    """Cannot keep the answer that is an error, the first time."""

    failed = False

    async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        replies = [reply for channel, value in writes if channel == "replies" for reply in value.values()]
        if not self.failed and any(reply.error is not None for reply in replies):
            self.failed = True
            raise OSError("the disk is full")
        await super().aput_writes(config, writes, task_id, task_path)


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_kill_while_a_graph_begins_over_recorded_answers_loses_none_of_them(tmp_path: Path, at: int) -> None:
    """Calls must wait in the second process alone, which is killed after it has recorded `at` checkpoints of theirs."""
    code = "FINAL(llm_query_batched(['p0', 'p1', 'p2', 'p3']))"
    disk = _Disk()
    with ScriptedServer(scripted(code, lambda request: request.prompt.upper())) as server:

        async def resumed(saver: InMemorySaver, **given: Any) -> Any:
            agent = create_rlm_agent(
                "openai/root", sub_model="openai/sub", checkpointer=saver, options=options(server, tmp_path), **given
            )
            return await agent.ainvoke(None if saver.storage else {"question": "?"}, CONFIG)

        with pytest.raises(OSError, match="killed"):
            await resumed(disk)
        disk = disk.as_killed(at)
        with suppress(OSError):  # of a call that waits, LangGraph tells rather that
            await resumed(disk, interrupt_on="subcalls")
        asked_before = [request.prompt for request in server.requests if request.model == "sub"]
        result = await resumed(disk.as_killed())
        asked = [request.prompt for request in server.requests if request.model == "sub"]

    assert result["answer"].value == ["P0", "P1", "P2", "P3"]
    assert len(disk.recorded) == 2
    assert not disk.recorded & set(asked[len(asked_before) :])


class _Disk(InMemorySaver):
    """What a process has recorded that is killed by its third answer, or after so many checkpoints of its calls."""

    def __init__(self, checkpoints: float | None = None) -> None:
        super().__init__()
        self._left = [] if checkpoints is None else [checkpoints]
        self._kept: list[Any] = []
        """Lists, as all that changes here: the copies that a graph makes of its saver share them."""
        self.recorded: set[str] = set()
        """The prompts whose answers are recorded."""

    def as_killed(self, checkpoints: float = math.inf) -> _Disk:
        """Return what the next process finds."""
        found = _Disk(checkpoints)
        [(storage, writes, blobs)] = self._kept
        found.storage.update(storage)
        found.writes.update(writes)
        found.blobs.update(blobs)
        found.recorded = self.recorded
        return found

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        put = await super().aput(config, checkpoint, metadata, new_versions)
        if "llm_query" in config["configurable"]["checkpoint_ns"] and self._left:
            self._left[0] -= 1
            if self._left == [0]:
                self._die()
        return put

    async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        answered = {reply.value for channel, value in writes if channel == "replies" for reply in value.values()}
        if answered and not self._left:
            if len(self.recorded) == 2:
                self._die()
            self.recorded |= {value.lower() for value in answered}
        await super().aput_writes(config, writes, task_id, task_path)

    def _die(self) -> None:
        if not self._kept:
            self._kept.append(copy.deepcopy((dict(self.storage), dict(self.writes), dict(self.blobs))))
        raise OSError("killed")
