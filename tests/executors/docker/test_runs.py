"""Whole runs in containers: chosen by name or by settings, resumed when a container is gone, with what they used."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import docker
import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, ContextStore, create_rlm_agent
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.errors import ExecutorError
from rlm_graph.executors import create_executor
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.settings import DockerSettings, Settings
from rlm_graph.state import ReplHandle
from rlm_graph.testing import ScriptedModel
from tests.executors.docker.conftest import exists, notebook, settings
from tests.graphs.conftest import repl

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


class Noting(DockerExecutor):
    """Notes what containers it has used."""

    def __init__(self, settings: DockerSettings) -> None:
        super().__init__(settings)
        self.containers: list[str] = []

    @contextlib.asynccontextmanager
    async def attached(
        self, handle: ReplHandle | None, *, name: str | None = None, tools: Sequence[str] = ()
    ) -> AsyncIterator[SupervisedRepl]:
        async with super().attached(handle, name=name, tools=tools) as repl:
            self.containers.append(repl.handle.address)
            yield repl


def build(tmp_path: Path, replies: Sequence[str], executor: Any, *, sub: Any = None) -> RLMGraph:
    return create_rlm_agent(
        ScriptedModel(replies), sub_model=ScriptedModel(sub, model="sub") if sub else None, executor=executor,
        options=AgentOptions(contexts=ContextStore(tmp_path / "contexts")), checkpointer=InMemorySaver(),
    )  # fmt: skip


@pytest.mark.docker
async def test_a_container_killed_in_a_cell_costs_the_run_nothing_that_it_had(
    tmp_path: Path, docker_image: str, client: docker.APIClient
) -> None:
    asked: list[str] = []
    executor = Noting(settings(docker_image))

    def sub(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        if asked == ["a", "b"]:
            client.kill(executor.containers[-1])
        return messages[-1].text.upper()

    cells = ["x = [llm_query('a'), len(context)]", "x.append(llm_query('b'))\nx.append(llm_query('c'))", "FINAL(x)"]
    graph = build(tmp_path, [repl(code) for code in cells], executor, sub=sub)
    with pytest.raises(ExecutorError, match="resume the run"):
        await graph.ainvoke({"question": "Go.", "context": "some text"}, CONFIG)

    result = await graph.ainvoke(None, CONFIG)

    assert result["answer"].value == ["A", 9, "B", "C"]
    assert asked == ["a", "b", "c"]
    assert len(set(executor.containers)) == 2
    assert not any(exists(client, container) for container in executor.containers)


@pytest.mark.docker
async def test_a_run_tells_what_its_cells_used_and_leaves_no_container(
    tmp_path: Path, docker_image: str, client: docker.APIClient
) -> None:
    executor = Noting(settings(docker_image))
    cells = ["1", "data = b'x' * (80 << 20)\nn = sum(range(3_000_000))", "FINAL(len(data))"]
    graph = build(tmp_path, [repl(code) for code in cells], executor)

    result = await graph.ainvoke({"question": "Go."}, CONFIG)

    turns = (await graph.aget_state(CONFIG)).values["turns"]
    idle, busy, _ = [turn.executions[0] for turn in turns]
    assert result["answer"].value == 80 << 20
    assert busy.cpu_s > idle.cpu_s
    assert busy.peak_memory_bytes > idle.peak_memory_bytes + (70 << 20)
    assert None not in (busy.read_bytes, busy.write_bytes)
    assert len(set(executor.containers)) == 1
    assert not exists(client, executor.containers[0])


@pytest.mark.docker
async def test_the_example_settings_start_a_container_without_a_network_or_a_shell(
    tmp_path: Path, docker_image: str, client: docker.APIClient
) -> None:
    example = Settings.load(config=CONFIGS / "docker.toml", folder=tmp_path).executor
    assert isinstance(example, DockerSettings)
    executor = DockerExecutor(example.model_copy(update={"image": docker_image, "pull": False}))

    async with notebook(executor) as book:
        limits = client.inspect_container(book.repl.handle.address)["HostConfig"]
        ran = await book.run("6 * 7")
        shell = await book.run("echo x", language="bash")

    assert ran.value == "42"
    assert shell.error is not None
    assert limits["NetworkMode"] == "none"
    assert (limits["NanoCpus"], limits["Memory"], limits["PidsLimit"]) == (10**9, 4 << 30, 128)


def test_it_is_chosen_by_name_and_by_settings() -> None:
    assert isinstance(create_executor("docker"), DockerExecutor)
    chosen = create_executor(DockerSettings(cell_timeout_s=7))
    assert isinstance(chosen, DockerExecutor)
    assert chosen.cell_timeout_s == 7
