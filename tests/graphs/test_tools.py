"""What a run promises of its tools: functions on the host that code calls, once each, and only if it may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from rlm_graph.errors import ModelError
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import LocalSettings
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., Any]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}

pytestmark = pytest.mark.confinement


def counting(calls: list[Any]) -> Any:
    @tool
    async def lookup(key: str, limit: int = 2) -> list[str]:
        """Look a key up."""
        calls.append((key, limit))
        return [f"{key}{number}" for number in range(limit)]

    return lookup


async def test_code_calls_an_asynchronous_tool_and_may_leave_out_what_has_a_default(agent: Build) -> None:
    graph = agent([repl("FINAL(lookup('a') + lookup('b', limit=1))")], tools=[counting([])])

    assert (await graph.ainvoke({"question": "Look."}))["answer"].value == ["a0", "a1", "b0"]


def test_the_synchronous_way_calls_asynchronous_tools_too(agent: Build) -> None:
    graph = agent([repl("FINAL(lookup('a'))")], tools=[counting([])])

    assert graph.invoke({"question": "Look."})["answer"].value == ["a0", "a1"]


async def test_arguments_that_do_not_fit_are_an_exception_that_names_them(agent: Build) -> None:
    code = "try:\n    lookup('a', limit='many')\nexcept ValueError as error:\n    FINAL(str(error))"

    result = await agent([repl(code)], tools=[counting([])]).ainvoke({"question": "Look."})

    assert result["answer"].value.startswith("lookup: limit: Input should be a valid integer")


async def test_a_repl_that_is_rebuilt_gets_the_recorded_results_and_calls_no_tool_again(agent: Build) -> None:
    calls: list[Any] = []
    executor = LocalExecutor(LocalSettings())
    replies = [repl("found = lookup('a')\nprint(found)"), ModelError("no credit left"), repl("FINAL(found)")]
    graph = agent(replies, tools=[counting(calls)], executor=executor, checkpointer=InMemorySaver())
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "Look."}, CONFIG)
    await executor.close((await graph.aget_state(CONFIG)).values["repl"])

    result = await graph.ainvoke(None, CONFIG)

    assert result["answer"].value == ["a0", "a1"]
    assert calls == [("a", 2)]


async def test_a_tool_waits_for_approval(agent: Build) -> None:
    calls: list[Any] = []
    code = "try:\n    lookup('a')\nexcept Exception as error:\n    print(error)\nFINAL(lookup('b'))"
    graph = agent([repl(code)], tools=[counting(calls)], interrupt_on="subcalls", checkpointer=InMemorySaver())

    first = await graph.ainvoke({"question": "Look."}, CONFIG)
    asked = first["__interrupt__"][0].value
    assert calls == []
    await graph.ainvoke(Command(resume={"reject": "too dear"}), CONFIG)
    result = await graph.ainvoke(Command(resume=True), CONFIG)

    assert (asked["function"], asked["preview"]) == ("lookup", '{"key": "a"}')
    assert result["answer"].value == ["b0", "b1"]
    assert calls == [("b", 2)]


async def test_a_tool_may_ask_a_human_itself(agent: Build) -> None:
    def ask(what: str) -> str:
        """Ask a human."""
        return str(interrupt({"what": what}))

    graph = agent([repl("FINAL(ask('which?'))")], tools=[ask], checkpointer=InMemorySaver())

    waiting = await graph.ainvoke({"question": "Ask."}, CONFIG)
    result = await graph.ainvoke(Command(resume="the blue one"), CONFIG)

    assert waiting["__interrupt__"][0].value == {"what": "which?"}
    assert result["answer"].value == "the blue one"


async def test_the_model_reads_what_a_tool_takes_and_does(agent: Build) -> None:
    model = ScriptedModel(["FINAL(1)"])

    await agent(model, tools=[counting([])]).ainvoke({"question": "Look."})

    assert "`lookup(key: str, limit: int = 2)`: Look a key up." in model.calls[0][0].text
