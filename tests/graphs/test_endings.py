"""Replies that are not whole: cut, filtered, refused or empty. No half of a reply passes for an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, LocalSettings, ModelError, create_rlm_agent
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedCall, ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl
from tests.graphs.test_resume import kill_workers

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
CAREFUL = repl(
    "try:\n    said = llm_query('When?')\nexcept IncompleteReply as error:\n"
    "    said = [error.reason, error.partial, str(error)]\nFINAL(said)"
)


def ended(text: str, reason: str = "length", **aside: Any) -> AIMessage:
    return AIMessage(text, response_metadata={"finish_reason": reason}, additional_kwargs=aside)


@pytest.mark.parametrize(
    ("reply", "reason", "partial", "words"),
    [
        (ended("In clause 7 the"), "cut", "In clause 7 the", "limit of tokens"),
        (ended("<think>hm, hm"), "cut", "", "limit of tokens"),
        (ended("", "content_filter"), "filtered", "", "held the reply back"),
        (ended("", "stop", refusal="I will not."), "refused", "", "I will not."),
        (ended(" ", "stop"), "empty", " ", "empty"),
    ],
)
async def test_code_is_told_of_a_reply_that_is_not_whole(
    agent: Build, reply: AIMessage, reason: str, partial: str, words: str
) -> None:
    result = await agent([CAREFUL], sub=[reply]).ainvoke({"question": "Go."})

    assert result["answer"].value[:2] == [reason, partial]
    assert words in result["answer"].value[2]
    assert result["usage"].subcalls == 1


async def test_what_a_closed_stream_had_brought_reaches_the_code() -> None:
    def answer(request: ScriptedRequest) -> ScriptedReply:
        if any(message["role"] == "system" for message in request.messages):
            return ScriptedReply(CAREFUL)
        return ScriptedReply("In clause 7 the notice period is", chunk_chars=12, close_after=2)

    with ScriptedServer(answer) as server:
        settings = ModelSettings(base_url=server.url, max_retries=0, profile="standard", stream=True)
        graph = create_rlm_agent("openai/m", options=AgentOptions(models=settings))
        result = await graph.ainvoke({"question": "Go."})

    assert result["answer"].value[:2] == ["cut", "In clause 7 the notice p"]
    assert "ended before" in result["answer"].value[2]


async def test_the_record_gives_a_replay_the_same_incomplete_reply(agent: Build, tmp_path: Path) -> None:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "repls")
    asked: list[str] = []

    def sub(messages: Sequence[BaseMessage]) -> AIMessage:
        asked.append(messages[-1].text)
        return ended(f"half {len(asked)}")

    calls = """
class Kept:  # no snapshot holds what cells have defined
    pass
kept = Kept()
try:
    llm_query('one')
except IncompleteReply as error:
    kept.one = (error.reason, error.partial)
kept.many = [(e.reason, e.partial) for e in llm_query_batched(['two', 'three'], return_exceptions=True)]
gone = (n for n in range(3))
"""
    downs = iter([ModelError("down"), repl("FINAL([kept.one, *sorted(kept.many)])")])
    root = iter([repl(calls)])
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = agent(lambda _: next(root, None) or next(downs), sub=sub, checkpointer=saver, executor=executor)
        with pytest.raises(ModelError, match="down"):
            await graph.ainvoke({"question": "Go."}, CONFIG)
        kill_workers(executor)
        result = await graph.ainvoke(None, CONFIG)

    assert result["answer"].value == [["cut", "half 1"], ["cut", "half 2"], ["cut", "half 3"]]
    assert len(asked) == 3


async def test_a_cut_reply_of_the_root_is_asked_to_go_on(agent: Build) -> None:
    told: list[str] = []

    def root(messages: Sequence[BaseMessage]) -> AIMessage | str:
        told.append(messages[-1].text)
        return ended("```repl\nFINAL(len('half of the") if len(told) == 1 else repl("FINAL('whole')")

    result = await agent(root).ainvoke({"question": "Go."})

    assert (result["answer"].value, result["answer"].complete) == ("whole", True)
    assert "cut at the limit of tokens" in told[1]


@pytest.mark.parametrize("text", ["FINAL(The period is thirty", "FINAL: The period is thirty", "**Final Answer:** 30"])
async def test_a_final_answer_that_is_cut_is_not_taken(agent: Build, text: str) -> None:
    result = await agent([repl("1"), ended(text), "FINAL(thirty days)"]).ainvoke({"question": "Go."})

    assert result["answer"].value == "thirty days"


async def test_what_is_whole_in_a_cut_reply_is_taken(agent: Build) -> None:
    first = ended("```repl\nprint('ran')\n```\nThen\n```repl\nprint('half")
    told: list[str] = []

    def root(messages: Sequence[BaseMessage]) -> AIMessage:
        told.append(messages[-1].text)
        return first if len(told) == 1 else ended("FINAL(42)\n\nThis is because the")

    result = await agent(root).ainvoke({"question": "Go."})

    assert (result["answer"].value, result["answer"].complete) == (42, True)
    assert "ran" in told[1]
    assert "half" not in told[1]
    assert "cut at the limit of tokens" in told[1]


@pytest.mark.parametrize(
    "reply",
    [ended("FINAL(The period"), ended("", "content_filter"), ended("", "stop", refusal="No."), ended("", "stop")],
    ids=["cut", "filtered", "refused", "empty"],
)
async def test_a_root_that_never_replies_in_full_ends_the_run_with_an_incomplete_answer(
    agent: Build, reply: AIMessage
) -> None:
    result = await agent(lambda _: reply).ainvoke({"question": "Go."})

    assert not result["answer"].complete
    assert result["usage"].turns == 4


async def test_a_tool_call_whose_arguments_were_cut_is_not_made(agent: Build) -> None:
    turns: list[int] = []

    def answer(request: ScriptedRequest) -> ScriptedReply:
        turns.append(len(request.messages))
        if len(turns) == 1:
            half = ScriptedCall("python", '{"code": "print(1)')
            return ScriptedReply("", tool_calls=[half], finish_reason="length")
        return ScriptedReply("", tool_calls=[ScriptedCall("final_answer", {"answer": request.prompt})])

    with ScriptedServer(answer) as server:
        settings = ModelSettings(base_url=server.url, max_retries=0, profile="standard", stream=True)
        graph = create_rlm_agent(
            "openai/m", options=AgentOptions(models=settings, protocol="tools"), checkpointer=InMemorySaver()
        )
        result = await graph.ainvoke({"question": "Go."}, CONFIG)
        state = (await graph.aget_state(CONFIG)).values

    assert "cut at the limit of tokens" in result["answer"].text
    assert state["turns"] == []
