"""A run that is deleted leaves nothing of its own, and takes nothing of another's."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from rlm_graph import AgentOptions, AgentSpec, ContextStore, LocalSettings, create_rlm_agent
from rlm_graph.approval import ApprovalRequest
from rlm_graph.executors import create_executor
from rlm_graph.executors.base import Executor
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.runs.deletion import delete
from rlm_graph.settings import DockerSettings, SnapshotSettings
from rlm_graph.storage.runs import Run, Runs
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl
from tests.graphs.test_resume import kill_workers

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(300)]


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=30), folder=tmp_path / "repls")
    yield executor
    kill_workers(executor)


@pytest.fixture
def contexts(tmp_path: Path) -> ContextStore:
    return ContextStore(tmp_path / "data" / "contexts")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def runs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runs]:
    place = tmp_path / "runs.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres")
    async with Runs.open(place) as opened:
        yield opened


Begin = Callable[..., Any]


@pytest.fixture
def begin(runs: Runs, contexts: ContextStore, executor: LocalExecutor) -> Begin:
    """Starts a run with the scripted replies."""

    async def begin(
        replies: Any,
        *,
        context: Any = None,
        executor: Executor = executor,
        options: AgentOptions = AgentOptions(),
        **parts: Any,
    ) -> Run:
        run = await runs.create(question="why?", source="", model="m", settings={})
        graph = create_rlm_agent(
            ScriptedModel(replies),
            executor=executor,
            checkpointer=runs.saver,
            options=options.model_copy(update={"contexts": contexts, "snapshots": SnapshotSettings(after_s=0)}),
            **parts,
        )
        await graph.ainvoke({"question": "why?", "context": context}, {"configurable": {"thread_id": run.id}})
        return run

    return begin


async def records(runs: Runs) -> set[str]:
    """The runs of which there is any checkpoint."""
    return {kept.config["configurable"]["thread_id"] async for kept in runs.saver.alist(None)}


def files(contexts: ContextStore) -> tuple[int, int]:
    """How many contexts there are, and how many snapshots."""
    snapshots = contexts.root.parent / "snapshots"
    return len(list(contexts.all())), len(list(snapshots.iterdir())) if snapshots.exists() else 0


async def test_its_snapshots_its_repl_and_its_context_go_with_it(
    runs: Runs, contexts: ContextStore, executor: LocalExecutor, begin: Begin
) -> None:
    run = await begin([repl("x = 1")], context="mine", options=AgentOptions(interrupt_after=["act"]))
    assert (files(contexts), len(list(executor._base().iterdir()))) == ((1, 1), 1)

    left = await delete(runs, run, executor=executor, contexts=contexts)

    assert (left, files(contexts), await records(runs), [run async for run in runs.each()]) == ((), (0, 0), set(), [])
    assert list(executor._base().iterdir()) == []


async def test_a_context_that_another_run_uses_stays_until_that_one_goes(
    runs: Runs, contexts: ContextStore, executor: LocalExecutor, begin: Begin
) -> None:
    first = await begin([repl("x = 1")], context="shared", options=AgentOptions(interrupt_after=["act"]))
    other = await begin([repl("x = 1")], context="shared", options=AgentOptions(interrupt_after=["act"]))
    assert files(contexts) == (1, 2)

    await delete(runs, first, executor=executor, contexts=contexts)
    assert (files(contexts), await records(runs)) == ((1, 1), {other.id})

    await delete(runs, other, executor=executor, contexts=contexts)
    assert (files(contexts), await records(runs)) == ((0, 0), set())


async def test_what_its_children_hold_goes_too(
    runs: Runs, contexts: ContextStore, executor: LocalExecutor, begin: Begin
) -> None:
    def model(messages: Sequence[BaseMessage]) -> str:
        child = any("Look" in message.text for message in messages if message.type == "human")
        if child:
            turn = sum(message.type == "ai" for message in messages)
            return [repl("y = llm_query('a')"), repl("FINAL('stop here')")][turn]
        if messages[0].type != "system":
            return "an answer"
        return repl("x = rlm_query('Look', context='of the child')")

    def approve(request: ApprovalRequest) -> bool | None:
        return None if any("stop here" in cell for cell in request.cells) else True

    run = await begin(model, context="of the root", interrupt_on=approve)
    assert files(contexts)[0] == 2
    assert len(list(executor._base().iterdir())) == 2
    namespaces = {kept.config["configurable"]["checkpoint_ns"] async for kept in runs.saver.alist(None)}
    assert len(namespaces) > 2

    await delete(runs, run, executor=executor, contexts=contexts)

    assert (files(contexts), await records(runs)) == ((0, 0), set())
    assert list(executor._base().iterdir()) == []


async def test_a_specialist_is_ended_in_the_sandbox_of_its_own(
    runs: Runs, contexts: ContextStore, executor: LocalExecutor, begin: Begin, tmp_path: Path
) -> None:
    class Other(LocalExecutor):
        kind = "other"

    theirs = Other(LocalSettings(idle_timeout_s=30), folder=tmp_path / "theirs")
    coder = ScriptedModel([repl("y = 1"), repl("FINAL('stop here')")])
    run = await begin(
        [repl("x = rlm_query('q', agent='coder')")],
        subagents={"coder": AgentSpec(model=coder, executor=theirs)},
        interrupt_on=lambda request: None if any("stop here" in cell for cell in request.cells) else True,
    )
    assert [len(list(each._base().iterdir())) for each in (executor, theirs)] == [1, 1]

    left = await delete(runs, run, executor=executor, others=[theirs], contexts=contexts)

    assert left == ()
    assert [list(each._base().iterdir()) for each in (executor, theirs)] == [[], []]


@pytest.mark.docker
async def test_its_container_goes_with_it(runs: Runs, contexts: ContextStore, docker_image: str, begin: Begin) -> None:
    executor = create_executor(DockerSettings(image=docker_image, pull=False, idle_timeout_s=60))
    run = await begin([repl("x = 1")], context="mine", executor=executor, options=AgentOptions(interrupt_after=["act"]))
    handle = (await runs.state(run.id))["repl"]
    assert container(handle.address)

    await delete(runs, run, executor=executor, contexts=contexts)

    assert container(handle.address) == ""
    assert files(contexts) == (0, 0)


def container(address: str) -> str:
    """The id of the container, if there is one."""
    command = ["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", f"id={address}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
