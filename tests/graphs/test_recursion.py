"""Recursion: a question from code is answered by a whole agent with a REPL and a budget of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, Budget, ContextStore, ExecutorError, ModelError, create_rlm_agent
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import ModelSettings
from rlm_graph.state import ReplHandle
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


def replies(messages: Sequence[BaseMessage]) -> int:
    return sum(message.type == "ai" for message in messages)


def asks(question: str, messages: Sequence[BaseMessage]) -> bool:
    return any(question in message.text for message in messages if message.type == "human")


async def test_a_child_has_its_own_context_and_repl_and_its_answer_comes_back(agent: Build) -> None:
    def model(messages: Sequence[BaseMessage]) -> str:
        if asks("Count the words", messages):
            return [repl("x = len(context.split())\nprint(x)"), repl("FINAL(x)")][replies(messages)]
        return [repl("x = 'mine'\nn = rlm_query('Count the words', context='a b c')"), repl("FINAL([n, x])")][
            replies(messages)
        ]

    result = await agent(ScriptedModel(model)).ainvoke({"question": "Go.", "context": "the parent's"})

    assert result["answer"].value == ["3", "mine"]
    assert result["usage"].turns == 2
    assert result["usage"].subcalls == 1


async def test_a_batch_runs_agents_side_by_side_and_each_answers_its_own(agent: Build) -> None:
    def model(messages: Sequence[BaseMessage]) -> str:
        if asks("Shout", messages):
            return repl("FINAL(context.upper())")
        return repl("FINAL(rlm_query_batched(['Shout'] * 3, contexts=['a', 'b', 'c']))")

    result = await agent(ScriptedModel(model)).ainvoke({"question": "Go."})

    assert result["answer"].value == ["A", "B", "C"]


async def test_at_the_last_depth_it_is_a_plain_call(agent: Build) -> None:
    depths: list[int] = []

    def model(messages: Sequence[BaseMessage]) -> str:
        if messages[0].type != "system":
            return "bottom"
        depths.append(1)
        return repl("FINAL('[' + rlm_query('deeper', context='x') + ']')")

    result = await agent(ScriptedModel(model), budget=Budget(max_depth=2)).ainvoke({"question": "Go."})

    assert result["answer"].value == "[[[bottom]]]"
    assert len(depths) == 3


async def test_each_depth_may_have_a_model_of_its_own(contexts: ContextStore) -> None:
    top = ScriptedModel([repl("FINAL(rlm_query('q', context='x'))")], model="top")
    middle = ScriptedModel([repl("FINAL('middle ' + llm_query('q'))")], model="middle")
    bottom = ScriptedModel(["bottom"], model="bottom")

    result = await create_rlm_agent(top, sub_model=[middle, bottom], options=AgentOptions(contexts=contexts)).ainvoke(
        {"question": "Go."}
    )

    assert result["answer"].value == "middle bottom"


async def test_a_child_gets_half_of_what_is_left_and_what_it_spends_is_the_parents(agent: Build) -> None:
    seen: list[str] = []

    def model(messages: Sequence[BaseMessage]) -> str:
        if asks("spend", messages):
            seen.append(messages[-1].text)
            return repl("for i in range(100): llm_query('x' * 400)")
        if messages[0].type != "system":
            return "y" * 400
        return [
            repl("try:\n    print(rlm_query('spend', context='x'))\nexcept BudgetExceeded as e:\n    print(e)"),
            repl("FINAL('done')"),
        ][replies(messages)]

    result = await agent(ScriptedModel(model), budget=Budget(max_tokens=20_000)).ainvoke({"question": "Go."})

    assert result["answer"].value == "done"
    assert 5_000 < result["usage"].tokens < 20_000


@pytest.mark.parametrize("way", ["ainvoke", "invoke"])
async def test_a_child_that_was_stopped_goes_on_in_its_middle(agent: Build, tmp_path: Path, way: str) -> None:
    asked: list[str] = []
    down = {"now": True}

    def model(messages: Sequence[BaseMessage]) -> str | Exception:
        if messages[0].type != "system":
            asked.append(messages[-1].text)
            return messages[-1].text.upper()
        if asks("child", messages):
            if replies(messages) == 1 and down["now"]:
                raise ZeroDivisionError("the host dies")
            return [repl("y = llm_query('in the child')"), repl("FINAL(y)")][replies(messages)]
        return repl("x = llm_query('before')\nFINAL([x, rlm_query('child', context='c')])")

    saver: Any = InMemorySaver()
    graph = agent(ScriptedModel(model), checkpointer=saver)

    async def go(given: Any) -> Any:
        return await graph.ainvoke(given, CONFIG) if way == "ainvoke" else graph.invoke(given, CONFIG)

    with pytest.raises(ZeroDivisionError):
        await go({"question": "Go."})
    down["now"] = False

    result = await go(None)

    assert result["answer"].value == ["BEFORE", "IN THE CHILD"]
    assert sorted(asked) == ["before", "in the child"]
    assert result["usage"].subcalls == 3


async def test_a_child_whose_provider_fails_is_an_error_in_the_code(agent: Build) -> None:
    def model(messages: Sequence[BaseMessage]) -> str | Exception:
        if asks("child", messages):
            return ModelError("down", retryable=False)
        code = "try:\n    rlm_query('child', context='c')\nexcept SubcallError as error:\n    FINAL(str(error))"
        return repl(code)

    result = await agent(ScriptedModel(model)).ainvoke({"question": "Go."})

    assert "down" in result["answer"].value


@pytest.mark.parametrize("retryable", [False, True])
@pytest.mark.parametrize("kept", [False, True], ids=["without a record", "with a record"])
@pytest.mark.parametrize("way", ["ainvoke", "invoke"])
async def test_a_child_whose_provider_fails_in_its_midst_is_charged_for_what_it_had_spent(
    agent: Build, kept: bool, way: str, retryable: bool
) -> None:
    asked: list[str] = []

    def model(messages: Sequence[BaseMessage]) -> str | Exception:
        if messages[0].type != "system":
            asked.append(messages[-1].text)
            return "answer"
        if asks("child", messages):
            if replies(messages):
                return ModelError("down", retryable=retryable)
            return repl("llm_query_batched(['a', 'b'])")
        code = "try:\n    rlm_query('child', context='c')\nexcept SubcallError as error:\n    FINAL(str(error))"
        return repl(code)

    graph = agent(ScriptedModel(model), checkpointer=InMemorySaver() if kept else None,
                  options=AgentOptions(models=ModelSettings(max_retries=1 if retryable else 0)))  # fmt: skip
    if way == "ainvoke":
        result = await graph.ainvoke({"question": "Go."}, CONFIG)
    else:
        result = await asyncio.to_thread(graph.invoke, {"question": "Go."}, CONFIG)

    assert "down" in result["answer"].value
    # Each time that it is begun, two calls of its own; without a record the second attempt begins anew.
    begun = 2 if retryable and not kept else 1
    assert sorted(asked) == sorted(["a", "b"] * begun)
    attempts = 2 if retryable else 1
    assert result["usage"].subcalls == 2 * begun + attempts
    alone = await agent(ScriptedModel([repl("FINAL(1)")])).ainvoke({"question": "Go."})
    assert result["usage"].output_tokens > alone["usage"].output_tokens + 2 * begun


class Crowded(LocalExecutor):
    """Has room for the root's REPL alone."""

    first: str | None = None
    refused = 0

    @contextlib.asynccontextmanager
    async def attached(
        self, handle: ReplHandle | None, *, name: str | None = None, tools: Sequence[str] = ()
    ) -> AsyncIterator[SupervisedRepl]:
        self.first = self.first or name
        if name != self.first:
            self.refused += 1
            raise ExecutorError("there is no room")
        async with super().attached(handle, name=name, tools=tools) as repl:
            yield repl


@pytest.mark.parametrize("kept", [False, True], ids=["without a record", "with a record"])
async def test_a_child_whose_sandbox_fails_again_is_an_error_in_the_code(agent: Build, kept: bool) -> None:
    thought: list[str] = []

    def model(messages: Sequence[BaseMessage]) -> str:
        if asks("child", messages):
            thought.append("child")
            return repl("FINAL(1)")
        return repl("try:\n    rlm_query('child')\nexcept SubcallError as error:\n    FINAL(str(error))")

    executor = Crowded()
    graph = agent(ScriptedModel(model), executor=executor, checkpointer=InMemorySaver() if kept else None)
    result = await graph.ainvoke({"question": "Go."}, CONFIG)

    assert result["answer"].value == "there is no room"
    assert executor.refused == (2 if kept else 1)
    assert thought == ["child"]
