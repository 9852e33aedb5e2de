"""A process that is forked after the first run works, or says what it cannot share with its parent."""

from __future__ import annotations

import os
import sqlite3
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from rlm_graph import AgentOptions, ContextStore, ModelSettings, RunHeldError, StorageError, create_rlm_agent
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.bridge import run_blocking
from rlm_graph.models import pacing
from rlm_graph.storage.locks import RecordLocation, lock_run
from rlm_graph.testing import ScriptedServer
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
    pytest.mark.timeout(120),
]


def in_a_fork(work: Callable[[], str]) -> str:
    """Return what the work says in a forked process, which then ends without a word to pytest."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        words = ""
        try:
            os.close(reader)
            words = work()
        except BaseException:
            words = traceback.format_exc()
        finally:
            os.write(writer, words.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        words = said.read()
    os.waitpid(child, 0)
    return words


def asked(graph: RLMGraph, config: Any = None) -> str:
    return str(graph.invoke({"question": "How long?", "context": "x" * 5}, config)["answer"].value)


def test_an_agent_works_in_a_process_that_was_forked_after_its_first_run(agent: Build) -> None:
    graph = agent(lambda _: repl("FINAL(len(context))"), checkpointer=InMemorySaver())

    assert asked(graph, {"configurable": {"thread_id": "parent"}}) == "5"
    assert in_a_fork(lambda: asked(graph, {"configurable": {"thread_id": "child"}})) == "5"
    assert asked(graph, {"configurable": {"thread_id": "parent, again"}}) == "5"


def test_the_same_holds_for_a_model_behind_a_server(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: repl("FINAL(len(context))")) as server:
        models = ModelSettings(base_url=server.url, profile="standard")
        options = AgentOptions(models=models, contexts=ContextStore(tmp_path / "contexts"))
        graph = create_rlm_agent("openai/scripted", options=options)

        assert asked(graph) == "5"
        assert in_a_fork(lambda: asked(graph)) == "5"
        assert asked(graph) == "5"


def test_a_fork_in_the_middle_of_a_run_holds_nothing_of_it(agent: Build) -> None:
    graph = agent(lambda _: repl("FINAL(len(context))"), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "a run"}}
    parts = graph.stream({"question": "How long?", "context": "x" * 5}, config)
    next(parts)

    assert in_a_fork(lambda: asked(graph, config)) == "5"
    parts.close()  # type: ignore[attr-defined]


def test_locks_that_threads_held_at_the_fork_are_free_in_it() -> None:
    async def five() -> int:
        return 5

    with pacing._lock:
        held = threading.Thread(target=run_blocking, args=(five(),))
        held.start()
        words = in_a_fork(lambda: f"{run_blocking(five())} {pacing.seconds_to_wait('nowhere')}")
    held.join()

    assert words == "5 0.0"


def test_a_fork_leaves_the_lock_of_its_parents_run_alone(tmp_path: Path) -> None:
    place = RecordLocation(str(tmp_path / "runs.sqlite"), path=tmp_path / "runs.sqlite")

    def tried() -> str:
        lock.__exit__(None, None, None)  # as the end of the parent's block would, in the child
        try:
            with lock_run(place, "a run"):
                return "taken"
        except RunHeldError as error:
            return error.holder

    lock = lock_run(place, "a run")
    lock.__enter__()
    words = in_a_fork(tried)
    lock.__exit__(None, None, None)

    assert f"process {os.getpid()}" in words
    with lock_run(place, "a run"):
        pass


def test_a_connection_to_a_database_is_not_carried_over(agent: Build, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "runs.sqlite", check_same_thread=False)
    graph = agent(lambda _: repl("FINAL(len(context))"), checkpointer=SqliteSaver(connection))
    config: Any = {"configurable": {"thread_id": "a run"}}

    def refused() -> str:
        with pytest.raises(StorageError) as raised:
            asked(graph, config)
        return str(raised.value)

    assert asked(graph, config) == "5"
    assert "was opened before the process was forked" in in_a_fork(refused)
    connection.close()
