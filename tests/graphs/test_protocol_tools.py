"""What holds for models that call tools instead of writing code: the same REPL, record, budget and answer."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, ConfigDict

from rlm_graph import AgentOptions, Budget, ContextStore, SetupError, create_rlm_agent
from rlm_graph.cli.progress import outcome
from rlm_graph.parsing.tool_calls import MAX_CALLS
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedCall, ScriptedModel, ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl

Build = Callable[..., Any]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}

pytestmark = pytest.mark.confinement


def calls(*given: tuple[str, Any] | ScriptedCall, text: str = "") -> ScriptedReply:
    made = [call if isinstance(call, ScriptedCall) else ScriptedCall(*call) for call in given]
    return ScriptedReply(text, tool_calls=made)


def python(code: str) -> tuple[str, Any]:
    return "python", {"code": code}


def final(answer: Any) -> ScriptedReply:
    return calls(("final_answer", {"answer": answer}))


def told(model: ScriptedModel, turn: int) -> list[ToolMessage]:
    """The tool messages that came last before the model's reply of that turn."""
    messages: list[ToolMessage] = []
    for message in reversed(model.calls[turn]):
        if not isinstance(message, ToolMessage):
            break
        messages.insert(0, message)
    return messages


@pytest.fixture
def tools_agent(agent: Build) -> Build:
    def build(*args: Any, **options: Any) -> Any:
        return agent(*args, options=AgentOptions(protocol="tools"), **options)

    return build


async def test_cells_run_in_one_repl_and_the_answer_is_a_call(tools_agent: Build) -> None:
    model = ScriptedModel([calls(python("x = context.count('a')")), calls(python("print(x * 2)")), final("six")])

    result = await tools_agent(model).ainvoke({"question": "How many?", "context": "banana"})

    assert result["answer"].value == "six"
    assert "6" in told(model, 2)[0].text
    assert result["usage"].turns == 3


async def test_the_model_is_offered_the_tools_and_told_how_to_use_them(contexts: ContextStore) -> None:
    def population(city: str) -> int:
        """Return how many people live in a city."""
        return 0

    with ScriptedServer([final(1)]) as server:
        graph = create_rlm_agent(
            "openai/gpt-4o-mini",
            options=AgentOptions(
                models=ModelSettings(base_url=server.url, profile="standard"), protocol="tools", contexts=contexts
            ),
            tools=[population],
        )
        result = await graph.ainvoke({"question": "?"})
        [request] = server.requests

    offered = {tool["function"]["name"]: tool["function"] for tool in request.tools}
    assert result["answer"].value == 1
    assert list(offered) == ["python", "final_answer", "rlm_sub_complete", "rlm_batch_complete", "population"]
    assert set(offered["rlm_sub_complete"]["parameters"]["properties"]) == {"prompt", "max_tokens", "system"}
    assert offered["population"]["description"] == "Return how many people live in a city."
    assert "```repl" not in request.text
    assert "`final_answer` ends the run" in request.text


async def test_each_call_of_a_reply_gets_a_message_of_its_own(tools_agent: Build) -> None:
    def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    reply = calls(
        ScriptedCall("double", {"number": 4}, id="a"),
        ScriptedCall("python", {"code": "print('hello')"}, id="b"),
        ScriptedCall("rlm_sub_complete", {"prompt": "p", "max_tokens": 5, "system": "s"}, id="c"),
        ScriptedCall("double", {"number": "x"}, id="d"),
        ScriptedCall("rlm_batch_complete", {"prompts": ["q", "r"]}, id="e"),
    )
    model = ScriptedModel([reply, final("done")])

    await tools_agent(model, sub=lambda messages: messages[-1].text.upper(), tools=[double]).ainvoke({"question": "?"})

    answers = {message.tool_call_id: message for message in told(model, 1)}
    assert list(answers) == ["a", "b", "c", "d", "e"]
    assert answers["a"].text == "8"
    assert "hello" in answers["b"].text
    assert answers["c"].text == "P"
    assert answers["d"].status == "error"
    assert "number: Input should be a valid integer" in answers["d"].text
    assert json.loads(answers["e"].text.partition("\n\n---")[0]) == [{"text": "Q"}, {"text": "R"}]
    assert [message.status for message in answers.values()].count("error") == 1


async def test_calls_of_one_reply_are_made_at_the_same_time(tools_agent: Build) -> None:
    meeting = asyncio.Barrier(3)

    async def meet(who: str) -> str:
        """Wait until all are there."""
        await meeting.wait()
        return who

    reply = calls(("meet", {"who": "a"}), ("meet", {"who": "b"}), python("print(meet('c'))"))
    model = ScriptedModel([reply, final("done")])

    await tools_agent(model, tools=[meet]).ainvoke({"question": "?"}, {"recursion_limit": 50})

    assert [message.text.partition("\n")[0] for message in told(model, 1)][:2] == ["a", "b"]
    assert "c" in told(model, 1)[2].text


async def test_equal_calls_of_a_reply_stay_separate_and_unusable_ids_are_mended(tools_agent: Build) -> None:
    same = ScriptedCall("rlm_sub_complete", {"prompt": "roll"}, id="same")
    rolled = iter("123456")
    model = ScriptedModel([calls(same, same), final("done")])

    await tools_agent(model, sub=lambda messages: next(rolled)).ainvoke({"question": "?"})

    messages = told(model, 1)
    sent = [message for message in model.calls[1] if isinstance(message, AIMessage)][-1]
    assert sorted(message.text[0] for message in messages) == ["1", "2"]
    assert len({message.tool_call_id for message in messages}) == 2
    assert [call["id"] for call in sent.tool_calls] == [message.tool_call_id for message in messages]


async def test_an_answer_beside_other_calls_is_not_taken(tools_agent: Build) -> None:
    model = ScriptedModel([calls(python("print(41 + 1)"), ("final_answer", {"answer": "41"})), final("42")])

    result = await tools_agent(model).ainvoke({"question": "?"})

    assert result["answer"].value == "42"
    assert "was not taken" in told(model, 1)[1].text


async def test_a_variable_can_be_the_answer(tools_agent: Build) -> None:
    replies = [calls(python("long = 'x' * 100_000")), calls(("final_answer", {"variable": "long"}))]

    result = await tools_agent(replies).ainvoke({"question": "?"})

    assert result["answer"].value == "x" * 100_000


async def test_a_cell_that_fails_keeps_those_after_it_from_running(tools_agent: Build) -> None:
    model = ScriptedModel([calls(python("1 / 0"), python("print('ran')")), final("done")])

    await tools_agent(model).ainvoke({"question": "?"})

    first, second = told(model, 1)
    assert "ZeroDivisionError" in first.text
    assert "not run" in second.text
    assert first.status == second.status == "error"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("The answer is 42.", "neither code nor an answer"),
        ("", "empty"),
        (ScriptedReply(tool_calls=[ScriptedCall("rlm_sub_complete", "not json")]), "no JSON object"),
        (calls(("final_answer", {})), "final answer was empty"),
    ],
)
async def test_a_reply_that_calls_nothing_is_corrected(contexts: ContextStore, reply: Any, words: str) -> None:
    with ScriptedServer([reply, final("done")]) as server:
        settings = ModelSettings(base_url=server.url, profile="standard")
        graph = create_rlm_agent(
            "openai/gpt-4o-mini", options=AgentOptions(models=settings, protocol="tools", contexts=contexts)
        )
        result = await graph.ainvoke({"question": "?"})
        second = server.requests[1]

    assert result["answer"].value == "done"
    assert words in second.prompt
    assert "or, once you know the answer, `final_answer`" in second.prompt


async def test_arguments_that_are_no_json_do_not_stop_the_calls_beside_them(contexts: ContextStore) -> None:
    broken = [ScriptedCall("rlm_sub_complete", "not json"), ScriptedCall("python", {"code": "print(6 * 7)"})]
    with ScriptedServer([ScriptedReply(tool_calls=broken), final("done")]) as server:
        settings = ModelSettings(base_url=server.url, profile="standard")
        graph = create_rlm_agent(
            "openai/gpt-4o-mini", options=AgentOptions(models=settings, protocol="tools", contexts=contexts)
        )
        await graph.ainvoke({"question": "?"})
        messages = server.requests[1].messages

    asked = {call["id"] for call in messages[-3]["tool_calls"]}
    assert {message["tool_call_id"] for message in messages[-2:]} == asked
    assert "42" in server.requests[1].text


async def test_code_in_the_text_of_a_reply_runs_all_the_same(tools_agent: Build) -> None:
    model = ScriptedModel([repl("print(6 * 7)"), final("done")])

    await tools_agent(model).ainvoke({"question": "?"})

    assert model.calls[1][-1].type == "human"
    assert "42" in model.calls[1][-1].text


class City(BaseModel):
    name: str
    river: Literal["Aare", "Limmat"]


async def test_the_answers_schema_is_that_of_the_call_and_a_misfit_goes_back(tools_agent: Build) -> None:
    model = ScriptedModel([final({"name": "Bern", "river": "Rhine"}), final({"name": "Bern", "river": "Aare"})])
    bound: list[Any] = []

    class Watched(ScriptedModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            bound.append(tools)
            return super().bind_tools(tools, **kwargs)

    watched = Watched(model.replies)
    result = await tools_agent(watched, response_format=City).ainvoke({"question": "?"})

    assert result["structured_response"] == City(name="Bern", river="Aare")
    assert "river" in told(watched, 1)[0].text
    answer = bound[0][1]["function"]["parameters"]["properties"]["answer"]
    assert answer["properties"]["river"]["enum"] == ["Aare", "Limmat"]


class Counted(BaseModel):
    model_config = ConfigDict(strict=True)

    atoms: int


async def test_an_integer_of_more_than_64_bits_in_a_call_reaches_the_caller_and_the_record(tools_agent: Build) -> None:
    saver = InMemorySaver()
    graph = tools_agent(ScriptedModel([final({"atoms": 10**80})]), response_format=Counted, checkpointer=saver)

    result = await graph.ainvoke({"question": "?"}, {"configurable": {"thread_id": "1"}})

    assert result["structured_response"] == Counted(atoms=10**80)


async def test_sub_calls_are_held_to_the_budget(tools_agent: Build) -> None:
    reply = calls(*[("rlm_sub_complete", {"prompt": f"p{number}"}) for number in range(5)])
    model = ScriptedModel([reply, final("done")])

    result = await tools_agent(model, sub=lambda messages: "yes", budget=Budget(max_subcalls=2)).ainvoke(
        {"question": "?"}
    )

    assert [message.status for message in told(model, 1)].count("error") == 3
    assert result["usage"].subcalls == 2


async def test_at_a_ceiling_every_call_is_answered_before_the_best_answer_is_asked_for(tools_agent: Build) -> None:
    model = ScriptedModel([calls(python("print('found it')")), "the best there is"])

    result = await tools_agent(model, budget=Budget(max_turns=1)).ainvoke({"question": "?"})

    last = model.calls[1]
    assert (result["answer"].value, result["answer"].ceiling) == ("the best there is", "max_turns")
    assert [message.type for message in last[-3:]] == ["ai", "tool", "human"]
    assert "found it" in last[-2].text


async def test_an_answer_that_was_called_is_answered_before_the_next_question(tools_agent: Build) -> None:
    model = ScriptedModel([final("one"), final("two")])
    graph = tools_agent(model, checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "First?"}, CONFIG)

    result = await graph.ainvoke({"question": "Second?"}, CONFIG)

    assert result["answer"].value == "two"
    assert [message.type for message in model.calls[1][-3:]] == ["ai", "tool", "human"]


async def test_calls_wait_for_approval_together_and_code_is_shown(tools_agent: Build) -> None:
    model = ScriptedModel([
        calls(("rlm_sub_complete", {"prompt": "a"}), ("rlm_sub_complete", {"prompt": "b"})), final("done"),
    ])  # fmt: skip
    graph = tools_agent(model, sub=lambda messages: "yes", interrupt_on="subcalls", checkpointer=InMemorySaver())

    waiting = await graph.ainvoke({"question": "?"}, CONFIG)
    decisions = {
        interrupt.id: True if interrupt.value["preview"] == "a" else {"reject": "too dear"}
        for interrupt in waiting["__interrupt__"]
    }
    await graph.ainvoke(Command(resume=decisions), CONFIG)

    assert len(decisions) == 2
    assert told(model, 1)[0].text == "yes"
    assert "rejected this call: too dear" in told(model, 1)[1].text


async def test_rejected_code_takes_the_calls_beside_it_along(tools_agent: Build) -> None:
    model = ScriptedModel([calls(python("x = 1"), ("rlm_sub_complete", {"prompt": "a"})), final("done")])
    graph = tools_agent(model, interrupt_on="code", checkpointer=InMemorySaver())

    waiting = await graph.ainvoke({"question": "?"}, CONFIG)
    result = await graph.ainvoke(Command(resume=False), CONFIG)

    assert waiting["__interrupt__"][0].value["cells"] == ["x = 1"]
    assert "the user rejected it" in told(model, 1)[0].text
    assert result["usage"].subcalls == 0


def test_the_synchronous_way_works_too(tools_agent: Build) -> None:
    model = ScriptedModel([calls(python("print(1)"), ("rlm_sub_complete", {"prompt": "a"})), final("done")])

    result = tools_agent(model, sub=lambda messages: "yes", checkpointer=InMemorySaver()).invoke(
        {"question": "?"}, CONFIG
    )

    assert result["answer"].value == "done"
    assert told(model, 1)[1].text.startswith("yes")


async def test_agents_below_work_by_the_same_protocol(tools_agent: Build) -> None:
    def root(messages: Any) -> Any:
        if "the deep question" in messages[1].text:
            return final("deep answer")
        return calls(python("FINAL(rlm_query('the deep question', 'text'))"))

    assert (await tools_agent(root).ainvoke({"question": "?"}))["answer"].value == "deep answer"


def test_a_model_that_cannot_call_tools_is_refused(contexts: ContextStore) -> None:
    graph = create_rlm_agent(
        FakeListChatModel(responses=["a"]), options=AgentOptions(protocol="tools", contexts=contexts)
    )

    with pytest.raises(SetupError, match="cannot call tools"):
        graph.invoke({"question": "?"})


HOST = Path(__file__).with_name("tools_host.py")


def script(request: ScriptedRequest) -> Any:
    if request.messages[0]["role"] != "system":
        return request.prompt.upper()
    return [
        calls(python("x = llm_query('from the cell')\nprint(x)"), ("search", {"query": "before"})),
        calls(
            *[("rlm_sub_complete", {"prompt": f"p{number}"}) for number in range(4)],
            ("rlm_sub_complete", {"prompt": "P", "context_query": "for P"}),
            ("rlm_batch_complete", {"prompts": ["q0", "q1"]}),
            ("search", {"query": "beside"}),
            python("y = llm_query('beside the calls')"),
        ),
        calls(python("FINAL(x + y)")),
    ][sum(message["role"] == "assistant" for message in request.messages)]


def is_held(request: ScriptedRequest) -> bool:
    return request.prompt == "p3"


def wait_for_answers(database: Path, count: int) -> None:
    """Wait until so many answers to calls are recorded."""
    deadline = time.monotonic() + 100
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        while True:
            # One alone is a checkpoint, the others are writes on one.
            [alone] = connection.execute(
                "SELECT count(*) FROM checkpoints WHERE checkpoint_ns LIKE '%|llm_query:%'"
                " AND json_extract(metadata, '$.source') = 'update'"
            ).fetchone()
            [others] = connection.execute("SELECT count(*) FROM writes WHERE channel = 'replies'").fetchone()
            recorded = alone + others
            if recorded >= count:
                return
            assert time.monotonic() < deadline, f"{recorded} of {count} answers were recorded"
            time.sleep(0.05)


def test_a_host_that_is_killed_amid_its_calls_goes_on_and_asks_only_what_was_not_answered(tmp_path: Path) -> None:
    with ScriptedServer(script) as server:
        command = [sys.executable, str(HOST), str(tmp_path), server.url]
        with server.holding(is_held) as hold, subprocess.Popen(command) as killed:
            hold.wait(100)
            # All calls of the first turn, and those of the second but the one that is held.
            wait_for_answers(tmp_path / "runs.sqlite", 2 + 9)
            killed.kill()
        resumed = subprocess.run(command, capture_output=True, text=True, timeout=100)
        prompts = Counter(request.prompt for request in server.requests)

    assert resumed.stdout.split("\n")[:3] == ["FROM THE CELLBESIDE THE CALLS", "9", "3"], resumed.stderr
    assert prompts["p3"] == 2
    assert {prompt: times for prompt, times in prompts.items() if times > 1} == {"p3": 2}
    assert sorted((tmp_path / "asked").read_text().split("\n")) == ["", "before", "beside", "for P"]


async def test_no_more_calls_are_under_way_than_are_allowed_and_too_many_are_not_made(agent: Build) -> None:
    under_way, most, made = 0, 0, 0

    async def work(number: int) -> int:
        """Work for a moment."""
        nonlocal under_way, most, made
        under_way, made = under_way + 1, made + 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return number

    model = ScriptedModel([calls(*[("work", {"number": number}) for number in range(MAX_CALLS + 5)]), final("done")])
    settings = ModelSettings(max_concurrency=3)

    await agent(model, tools=[work], options=AgentOptions(models=settings, protocol="tools")).ainvoke({"question": "?"})

    assert (most <= 3, made) == (True, MAX_CALLS)
    assert [message.status for message in told(model, 1)].count("error") == 5


async def test_a_turn_tells_the_calls_that_the_model_made_itself(tools_agent: Build) -> None:
    model = ScriptedModel([calls(("rlm_sub_complete", {"prompt": "a"}), python("llm_query('b')")), final("done")])
    graph = tools_agent(model, sub=lambda messages: "yes", checkpointer=InMemorySaver())

    await graph.ainvoke({"question": "?"}, CONFIG)
    [turn] = (await graph.aget_state(CONFIG)).values["turns"]

    assert sorted((call.cell, call.function) for call in turn.calls) == [(0, "llm_query"), (1, "llm_query")]
    assert outcome(turn) == "1 cell, 2 calls"


async def test_an_edited_cell_is_shown_in_the_place_of_the_one_that_was_called(tools_agent: Build) -> None:
    model = ScriptedModel([calls(python("print('mine')"), python("print('too')")), final("done")])
    graph = tools_agent(model, interrupt_on="code", checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "?"}, CONFIG)

    await graph.ainvoke(Command(resume={"edit": ["print('a')", "print('b')", "print('c')"]}), CONFIG)
    await graph.ainvoke(Command(resume=True), CONFIG)

    first, second = told(model, 1)
    assert "\na\n" in first.text
    assert "\nb\n" in second.text
    assert "\nc\n" in second.text
    assert "The user edited your code" in second.text
