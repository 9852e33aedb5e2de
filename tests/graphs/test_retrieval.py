"""What `context_query` promises: the retrieval tool is asked first, once, and what it finds goes before the prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, ModelError, SetupError
from rlm_graph.testing import ScriptedCall, ScriptedModel, ScriptedReply
from tests.graphs.conftest import repl

Build = Callable[..., Any]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}

pytestmark = pytest.mark.confinement


def echo(messages: Any) -> str:
    return str(messages[-1].text)


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def search(asked: list[str]) -> Callable[..., Any]:
    def search(query: str, limit: int = 3) -> Any:
        """Look something up."""
        asked.append(query)
        if query == "nothing":
            raise LookupError("there is nothing")
        return [{"path": "a.txt", "line": 7, "text": f"all about {query}"}]

    return search


async def test_code_and_calls_take_the_same_arguments(agent: Build, search: Any, asked: list[str]) -> None:
    code = "FINAL([rlm_sub_complete('P', context_query='pumps', max_tokens=9, system='S'), "
    code += "*rlm_batch_complete(['Q', 'R'], context_query='pipes')])"
    native = ScriptedModel([
        ScriptedReply(tool_calls=[
            ScriptedCall("rlm_sub_complete", {"prompt": "P", "context_query": "pumps", "max_tokens": 9, "system": "S"}),
            ScriptedCall("rlm_batch_complete", {"prompts": ["Q", "R"], "context_query": "pipes"}),
        ]),
        ScriptedReply(tool_calls=[ScriptedCall("final_answer", {"answer": "done"})]),
    ])  # fmt: skip

    by_code = await agent([repl(code)], sub=echo, tools=[search]).ainvoke({"question": "?"})
    await agent(native, sub=echo, tools=[search], options=AgentOptions(protocol="tools")).ainvoke({"question": "?"})

    assert by_code["answer"].value == [
        "a.txt:7\nall about pumps\n\nP", "a.txt:7\nall about pipes\n\nQ", "a.txt:7\nall about pipes\n\nR",
    ]  # fmt: skip
    assert native.calls[1][-2].text == "a.txt:7\nall about pumps\n\nP"
    assert sorted(asked) == ["pipes", "pipes", "pumps", "pumps"]


async def test_another_tool_can_be_the_one_that_is_asked(agent: Build, search: Any) -> None:
    def recall(what: str) -> str:
        """Recall it."""
        return f"recalled {what}"

    graph = agent(
        [repl("FINAL(llm_query('P', context_query='x'))")],
        sub=echo,
        tools=[search, recall],
        options=AgentOptions(retrieval="recall"),
    )

    assert (await graph.ainvoke({"question": "?"}))["answer"].value == "recalled x\n\nP"


@pytest.mark.parametrize(
    ("tools", "words"), [(True, "context_query: search: there is nothing"), (False, "no tool that looks for a context")]
)
async def test_what_cannot_be_looked_up_is_an_error_and_no_model_is_asked(
    agent: Build, search: Any, tools: bool, words: str
) -> None:
    code = "try:\n    llm_query('P', context_query='nothing')\nexcept Exception as error:\n    FINAL(str(error))"

    result = await agent([repl(code)], sub=echo, tools=[search] if tools else []).ainvoke({"question": "?"})

    assert words in result["answer"].value
    assert result["usage"].subcalls == 0


async def test_a_rebuilt_repl_does_not_look_it_up_again(agent: Build, search: Any, asked: list[str]) -> None:
    from rlm_graph.executors.local import LocalExecutor
    from rlm_graph.settings import LocalSettings

    executor = LocalExecutor(LocalSettings())
    replies = [repl("x = llm_query('P', context_query='pumps')"), ModelError("no credit left"), repl("FINAL(x)")]
    graph = agent(replies, sub=echo, tools=[search], executor=executor, checkpointer=InMemorySaver())
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "?"}, CONFIG)
    await executor.close((await graph.aget_state(CONFIG)).values["repl"])

    result = await graph.ainvoke(None, CONFIG)

    assert result["answer"].value.endswith("all about pumps\n\nP")
    assert asked == ["pumps"]


@pytest.mark.parametrize(
    ("retrieval", "words"), [("recall", "the run has no tool 'recall'; it has: search"), ("both", "with a query alone")]
)
def test_a_tool_that_is_not_there_or_takes_more_than_a_query_is_refused(
    agent: Build, search: Any, retrieval: str, words: str
) -> None:
    def both(first: str, second: str) -> str:
        """Take two."""
        return first + second

    with pytest.raises(SetupError, match=words):
        agent([], tools=[search, both] if retrieval == "both" else [search], options=AgentOptions(retrieval=retrieval))


async def test_the_model_is_told_of_it_only_where_it_can_be_used(agent: Build, search: Any) -> None:
    with_it, without = ScriptedModel(["FINAL(1)"]), ScriptedModel(["FINAL(1)"])

    await agent(with_it, tools=[search]).ainvoke({"question": "?"})
    await agent(without).ainvoke({"question": "?"})

    assert "context_query" in with_it.calls[0][0].text
    assert "context_query" not in without.calls[0][0].text
