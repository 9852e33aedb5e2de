"""Specialists: agents with a name, a model, a task, tools, a sandbox and a budget of their own, which code asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from rlm_graph import AgentSpec, Budget, LocalSettings, ModelError, SetupError
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import DockerSettings, PyodideSettings
from rlm_graph.storage.copying import fork
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl
from tests.graphs.test_recursion import replies
from tests.graphs.test_resume import kill_workers

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}

pytestmark = pytest.mark.confinement


def caught(call: str) -> str:
    """Code that ends with the words of the exception that `call` raises."""
    return repl(f"try:\n    {call}\nexcept Exception as error:\n    FINAL(type(error).__name__ + ': ' + str(error))")


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "repls")
    yield executor
    kill_workers(executor)


async def test_a_specialist_thinks_with_its_own_model_and_knows_its_task(agent: Build) -> None:
    coder = ScriptedModel([repl("FINAL(context.upper())")], model="coder")
    root = ScriptedModel([repl("FINAL(rlm_query('Shout.', context='abc', agent='coder'))")])
    spec = AgentSpec(model=coder, description="writes code", system_prompt="You shout for a living.")

    result = await agent(root, subagents={"coder": spec}).ainvoke({"question": "Go."})

    assert result["answer"].value == "ABC"
    assert "## Your part\n\nYou shout for a living." in coder.calls[0][0].text
    assert "You shout for a living." not in root.calls[0][0].text
    assert '`rlm_query(question, context, agent="name")`' in root.calls[0][0].text
    assert "- `coder`: writes code" in root.calls[0][0].text


async def test_what_a_specialist_does_not_set_is_as_with_the_agent_that_asks(agent: Build) -> None:
    def lookup(key: str) -> str:
        """Look a key up."""
        return f"<{key}>"

    child = ScriptedModel([repl("FINAL(lookup('a') + llm_query('b'))"), "B"])
    replies = [repl("FINAL(rlm_query('Look.', agent='plain'))")]

    result = await agent(replies, sub=lambda messages: child._answer(list(messages)), tools=[lookup],
                         subagents={"plain": AgentSpec()}).ainvoke({"question": "Go."})  # fmt: skip

    assert result["answer"].value == "<a>B"


async def test_a_specialist_has_the_tools_that_it_was_given_and_no_others(agent: Build) -> None:
    def theirs() -> str:
        """Return a word."""
        return "theirs"

    def ours() -> str:
        """Return a word."""
        return "ours"

    writer = ScriptedModel(lambda messages: caught("print(theirs())\n    ours()"))
    bare = ScriptedModel(lambda messages: caught("ours()"))
    agents = {"writer": AgentSpec(model=writer, tools=[theirs]), "bare": AgentSpec(model=bare, tools=[])}
    code = repl("FINAL([ours(), rlm_query('a', agent='writer'), rlm_query('b', agent='bare')])")

    result = await agent([code], tools=[ours], subagents=agents).ainvoke({"question": "Go."})

    missing = "NameError: name 'ours' is not defined"
    assert result["answer"].value == ["ours", missing, missing]
    assert "`theirs()`" in writer.calls[0][0].text
    assert "## Tools" not in bare.calls[0][0].text


async def test_an_agent_that_a_specialist_asks_has_its_tools_and_not_its_task(agent: Build) -> None:
    deep = ScriptedModel(lambda messages: caught("ours()"))
    bare = ScriptedModel([repl("FINAL(rlm_query('below'))")])

    def ours() -> str:
        """Return a word."""
        return "ours"

    agents = {"bare": AgentSpec(model=bare, tools=[], system_prompt="Be brief.")}
    result = await agent(
        [repl("FINAL(rlm_query('q', agent='bare'))")], sub=lambda messages: deep._answer(list(messages)),
        tools=[ours], subagents=agents,
    ).ainvoke({"question": "Go."})  # fmt: skip

    assert result["answer"].value == "NameError: name 'ours' is not defined"
    assert "Be brief." not in deep.calls[0][0].text


async def test_specialists_ask_one_another(agent: Build) -> None:
    coder = ScriptedModel([repl("FINAL('coded ' + rlm_query('deeper', agent='writer'))")])
    writer = ScriptedModel([repl("FINAL('written')")])
    agents = {"coder": AgentSpec(model=coder), "writer": AgentSpec(model=writer)}

    result = await agent([repl("FINAL(rlm_query('q', agent='coder'))")], subagents=agents).ainvoke({"question": "Go."})

    assert result["answer"].value == "coded written"
    assert result["usage"].subcalls == 2


async def test_a_batch_asks_one_specialist_or_one_for_each_question(agent: Build) -> None:
    def says(word: str) -> ScriptedModel:
        return ScriptedModel(lambda messages: repl(f"FINAL('{word} ' + context)"))

    agents = {"one": AgentSpec(model=says("one")), "two": AgentSpec(model=says("two"))}
    code = """
same = rlm_query_batched(['q', 'q'], contexts=['a', 'b'], agent='one')
mixed = rlm_query_batched(['q', 'q', 'q'], contexts=['a', 'a', 'a'], agent=['one', 'two', None])
FINAL(same + mixed)
"""

    result = await agent([repl(code)], sub=lambda messages: repl("FINAL('none ' + context)"), subagents=agents).ainvoke(
        {"question": "Go."}
    )

    assert result["answer"].value == ["one a", "one b", "one a", "two a", "none a"]


@pytest.mark.parametrize("call", ["rlm_query('q', agent='codr')", "rlm_query_batched(['q', 'r'], agent=['a', 'codr'])"])
@pytest.mark.parametrize("max_depth", [4, 0])
async def test_a_name_that_there_is_not_is_a_value_error_that_lists_them(
    agent: Build, call: str, max_depth: int
) -> None:
    agents = {"a": AgentSpec(model=ScriptedModel([])), "b": AgentSpec()}
    graph = agent([caught(call)], subagents=agents, budget=Budget(max_depth=max_depth))

    result = await graph.ainvoke({"question": "Go."})

    assert result["answer"].value.endswith("there is no agent 'codr'; there are: a, b")
    assert result["answer"].value.startswith("ValueError: rlm_query")
    assert result["usage"].subcalls == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("rlm_query('q', agent='a', model='m')", "no model 'm' here; there are: scripted"),
        ("rlm_query_batched(['q'], agent=['a', 'a'])", "1 questions but 2 agents"),
        ("rlm_query('q', agent=3)", "agent"),
        ("rlm_query('q', agent='b')", "there is no agent 'b'"),
    ],
)
async def test_arguments_that_make_no_sense_are_told_in_the_code(agent: Build, call: str, words: str) -> None:
    result = await agent([caught(call)], subagents={"a": AgentSpec()}).ainvoke({"question": "Go."})

    assert words in result["answer"].value


async def test_a_run_without_specialists_says_so(agent: Build) -> None:
    model = ScriptedModel([caught("rlm_query('q', agent='coder')")])

    result = await agent(model).ainvoke({"question": "Go."})

    assert "this run has none" in result["answer"].value
    assert "## Specialists" not in model.calls[0][0].text


async def test_at_the_last_depth_a_specialist_is_a_plain_call_to_its_model_with_its_task(agent: Build) -> None:
    coder = ScriptedModel(["plain"], model="coder")
    spec = AgentSpec(model=coder, system_prompt="You code.")
    code = repl("FINAL(rlm_query('q', context='c', agent='coder'))")

    result = await agent([code], subagents={"coder": spec}, budget=Budget(max_depth=0)).ainvoke({"question": "Go."})

    assert result["answer"].value == "plain"
    assert [(message.type, message.text) for message in coder.calls[0]] == [
        ("system", "You code."),
        ("human", "c\n\nq"),
    ]


async def test_at_the_last_depth_a_specialists_ceilings_bound_its_one_reply(agent: Build) -> None:
    given: dict[str, Any] = {}

    class Coder(ScriptedModel):
        async def _agenerate(self, *args: Any, **options: Any) -> ChatResult:
            given.update(options)
            return await super()._agenerate(*args, **options)

    spec = AgentSpec(model=Coder(["plain"]), budget=Budget(max_tokens=77))
    code = repl("FINAL(rlm_query('q', agent='coder'))")

    await agent([code], subagents={"coder": spec}, budget=Budget(max_depth=0)).ainvoke({"question": "Go."})

    assert given["max_tokens"] == 77


async def test_at_the_last_depth_a_specialist_who_is_slow_ends_with_its_own_time(agent: Build) -> None:
    class Slow(ScriptedModel):
        async def _agenerate(self, *args: Any, **options: Any) -> ChatResult:
            await asyncio.Event().wait()  # nobody sets it
            raise AssertionError("too late")

    spec = AgentSpec(model=Slow(["never"]), budget=Budget(timeout_s=0.2))
    code = caught("rlm_query('q', agent='slow')")

    result = await agent([code], subagents={"slow": spec}, budget=Budget(max_depth=0)).ainvoke({"question": "Go."})

    assert "timeout_s" in result["answer"].value


async def test_a_specialist_gets_what_it_requests_or_half_of_what_is_left_if_that_is_less(agent: Build) -> None:
    def spend(messages: Sequence[BaseMessage]) -> str:
        return repl("for i in range(100): llm_query('x' * 400)") if messages[0].type == "system" else "y" * 400

    def ask(*, root: int, requested: int) -> RLMGraph:
        spec = AgentSpec(model=ScriptedModel(spend), budget=Budget(max_tokens=requested))
        code = "try:\n    rlm_query('spend', agent='coder')\nexcept BudgetExceeded as e:\n    pass\nFINAL('done')"
        return agent([repl(code)], sub=spend, subagents={"coder": spec}, budget=Budget(max_tokens=root))

    modest = await ask(root=40_000, requested=3_000).ainvoke({"question": "Go."})
    greedy = await ask(root=10_000, requested=1_000_000).ainvoke({"question": "Go."})

    # The root's own turn takes some of it too.
    assert modest["answer"].value == greedy["answer"].value == "done"
    assert 3_000 <= modest["usage"].tokens < 8_000
    assert greedy["usage"].tokens <= 10_000


async def test_the_record_names_the_specialists_that_were_asked(agent: Build) -> None:
    agents = {name: AgentSpec(model=ScriptedModel([repl("FINAL(1)")])) for name in ("coder", "writer")}
    code = repl("rlm_query_batched(['a', 'b'], agent=['writer', 'coder'])\nFINAL(llm_query('plain'))")

    graph = agent([code], sub=lambda messages: "x", subagents=agents, checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "Go."}, CONFIG)

    [turn] = (await graph.aget_state(CONFIG)).values["turns"]
    assert [(call.function, call.agents) for call in turn.calls] == [
        ("rlm_query_batched", ("writer", "coder")),
        ("llm_query", ()),
    ]


async def test_what_specialists_spend_is_charged_to_every_ancestor(agent: Build) -> None:
    coder = ScriptedModel([repl("FINAL(rlm_query('deeper', agent='writer'))")])
    writer = ScriptedModel([repl("FINAL(llm_query('x' * 4000))")])
    agents = {"coder": AgentSpec(model=coder), "writer": AgentSpec(model=writer)}

    result = await agent(
        [repl("FINAL(rlm_query('q', agent='coder'))")], sub=lambda messages: "y", subagents=agents
    ).ainvoke({"question": "Go."})

    spoken = sum(len(message.text) for model in (coder, writer) for call in model.calls for message in call)
    assert result["usage"].tokens > spoken // 4 + 1000
    assert result["usage"].subcalls == 3


async def test_a_specialist_limits_how_deep_it_may_go(agent: Build) -> None:
    coder = ScriptedModel([repl("FINAL(rlm_query('q', context='c'))")])
    agents = {"coder": AgentSpec(model=coder, budget=Budget(max_depth=0))}

    result = await agent(
        [repl("FINAL(rlm_query('q', agent='coder'))")], sub=lambda messages: f"{messages[0].type}", subagents=agents
    ).ainvoke({"question": "Go."})

    assert result["answer"].value == "human"
    assert "`rlm_query(" not in coder.calls[0][0].text


async def test_a_specialist_works_in_a_sandbox_of_its_own(
    agent: Build, executor: LocalExecutor, tmp_path: Path
) -> None:
    theirs = LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "theirs")
    coder = ScriptedModel([repl("import os\nwhere = os.getcwd()\nprint(where)"), repl("FINAL(where)")])
    root = ScriptedModel([repl("import os\nFINAL([os.getcwd(), rlm_query('q', agent='coder')])")])
    graph = agent(root, executor=executor, subagents={"coder": AgentSpec(model=coder, executor=theirs)})

    result = await graph.ainvoke({"question": "Go."})

    ours_cwd, their_cwd = result["answer"].value
    assert ours_cwd.startswith(str(tmp_path / "repls"))
    assert their_cwd.startswith(str(tmp_path / "theirs"))
    assert [entry.name for entry in (tmp_path / "theirs").iterdir() if entry.is_dir()] == []


@pytest.mark.parametrize(
    "kind", [pytest.param("docker", marks=pytest.mark.docker), pytest.param("pyodide", marks=pytest.mark.pyodide)]
)
async def test_a_specialist_may_work_in_a_sandbox_of_another_kind(
    agent: Build, request: pytest.FixtureRequest, kind: str
) -> None:
    where: Any = (
        DockerSettings(image=request.getfixturevalue("docker_image"), pull=False)
        if kind == "docker"
        else PyodideSettings(store=request.getfixturevalue("pyodide_store"))
    )
    coder = ScriptedModel([repl("FINAL(rlm_query('deeper', context=context, agent='writer'))")])
    writer = ScriptedModel([repl("import sys\nFINAL(sys.platform + ' ' + context)")])
    agents = {"coder": AgentSpec(model=coder, executor=where), "writer": AgentSpec(model=writer, executor="local")}

    result = await agent([repl("FINAL(rlm_query('q', context='c', agent='coder'))")], subagents=agents).ainvoke(
        {"question": "Go."}
    )

    assert result["answer"].value == "linux c"


async def test_a_human_sees_whom_a_call_asks_and_whose_code_it_is(agent: Build, tmp_path: Path) -> None:
    coder = ScriptedModel([repl("FINAL('coded')")])
    agents = {"coder": AgentSpec(model=coder)}
    code = repl("FINAL(rlm_query('q', agent='coder'))")

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        calls = agent([code], subagents=agents, interrupt_on="subcalls", checkpointer=saver)
        paused = await calls.ainvoke({"question": "Go."}, CONFIG)
        asked = paused["__interrupt__"][0].value
        assert (asked["function"], asked["agent"], asked["preview"]) == ("rlm_query", "coder", "q")
        assert coder.calls == []
        assert (await calls.ainvoke(Command(resume=True), CONFIG))["answer"].value == "coded"

        other: Any = {"configurable": {"thread_id": "another run"}}
        coder = ScriptedModel([repl("FINAL('coded')")])
        written = agent([code], subagents={"coder": AgentSpec(model=coder)}, interrupt_on="code", checkpointer=saver)
        first = await written.ainvoke({"question": "Go."}, other)
        second = await written.ainvoke(Command(resume=True), other)
        assert [each["__interrupt__"][0].value["agent"] for each in (first, second)] == ["", "coder"]
        assert (await written.ainvoke(Command(resume=True), other))["answer"].value == "coded"


@pytest.mark.parametrize("way", ["ainvoke", "invoke"])
async def test_a_specialist_that_was_stopped_goes_on_in_its_middle(agent: Build, way: str) -> None:
    asked: list[str] = []
    down = {"now": True}

    def sub(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        return messages[-1].text.upper()

    def think(messages: Sequence[BaseMessage]) -> str | Exception:
        asked.append("coder")
        if replies(messages) == 1 and down["now"]:
            raise ZeroDivisionError("the host dies")
        return [repl("y = llm_query('within')"), repl("FINAL(y)")][replies(messages)]

    root = [repl("x = llm_query('before')\nFINAL([x, rlm_query('child', context='c', agent='coder')])")]
    graph = agent(
        root, sub=sub, subagents={"coder": AgentSpec(model=ScriptedModel(think))}, checkpointer=InMemorySaver()
    )

    async def go(given: Any) -> Any:
        return await graph.ainvoke(given, CONFIG) if way == "ainvoke" else graph.invoke(given, CONFIG)

    with pytest.raises(ZeroDivisionError):
        await go({"question": "Go."})
    down["now"] = False

    result = await go(None)

    assert result["answer"].value == ["BEFORE", "WITHIN"]
    assert sorted(asked) == ["before", "coder", "coder", "coder", "within"]
    assert result["usage"].subcalls == 3


async def test_a_repl_that_is_rebuilt_asks_no_specialist_again_even_one_that_is_gone(
    agent: Build, executor: LocalExecutor
) -> None:
    coder = ScriptedModel([repl("FINAL('coded')")])
    saver = InMemorySaver()
    first = agent(
        [repl("x = rlm_query('q', agent='coder')"),
         ModelError("no credit", retryable=False)],
        subagents={"coder": AgentSpec(model=coder)}, executor=executor, checkpointer=saver,
    )  # fmt: skip
    with pytest.raises(ModelError):
        await first.ainvoke({"question": "Go."}, CONFIG)
    kill_workers(executor)

    result = await agent([repl("FINAL(x)")], executor=executor, checkpointer=saver).ainvoke(None, CONFIG)

    assert result["answer"].value == "coded"
    assert len(coder.calls) == 1


async def test_the_same_question_to_two_specialists_is_two_calls(agent: Build) -> None:
    one, two = ScriptedModel([repl("FINAL(1)")]), ScriptedModel([repl("FINAL(2)")])
    agents = {"one": AgentSpec(model=one), "two": AgentSpec(model=two)}
    code = repl("FINAL([rlm_query('q', agent='one'), rlm_query('q', agent='two')])")

    result = await agent([code], subagents=agents, checkpointer=InMemorySaver()).ainvoke({"question": "Go."}, CONFIG)

    assert result["answer"].value == ["1", "2"]


async def test_a_fork_has_what_specialists_answered(agent: Build) -> None:
    coder = ScriptedModel([repl("FINAL('coded')")])
    saver = InMemorySaver()
    agents = {"coder": AgentSpec(model=coder)}
    first = agent([repl("x = rlm_query('q', agent='coder')"), repl("FINAL(x)")], subagents=agents, checkpointer=saver)
    await first.ainvoke({"question": "Go."}, CONFIG)
    await fork(saver, "a run", "another")

    other: Any = {"configurable": {"thread_id": "another"}}
    again = agent([repl("FINAL(x + '!')")], subagents=agents, checkpointer=saver)

    assert (await again.ainvoke({"question": "And?"}, other))["answer"].value == "coded!"
    assert len(coder.calls) == 1


@pytest.mark.parametrize(
    ("agents", "words"),
    [
        ({"a b": AgentSpec()}, "agent 'a b': a name has letters"),
        ({"a": {"model": "m"}}, "agent a: give an AgentSpec, not dict"),
        ({"a": AgentSpec(executor="nowhere")}, "agent a: 'nowhere' is none of 'local'"),
        ({"a": AgentSpec(tools=[3])}, "agent a: 3 is no tool"),  # type: ignore[list-item]  # the point
        ({"a": AgentSpec(budget=Budget(max_cost_usd=0.1))}, "agent a: the price of scripted is unknown"),
    ],
)
def test_a_specialist_that_cannot_be_is_refused_when_the_agent_is_built(agent: Build, agents: Any, words: str) -> None:
    with pytest.raises(SetupError, match=words.replace("(", r"\(")):
        agent([], subagents=agents)


async def test_a_ceiling_on_cost_must_hold_for_specialists_too(agent: Build) -> None:
    priced = {"price": {"input_usd": 1.0, "output_usd": 1.0}}
    root = ScriptedModel(["FINAL(1)"], metadata=priced)
    graph = agent(
        root, subagents={"a": AgentSpec(model=ScriptedModel([], model="free?"))}, budget=Budget(max_cost_usd=1.0)
    )

    with pytest.raises(SetupError, match=r"the price of free\? is unknown"):
        await graph.ainvoke({"question": "Go."})
