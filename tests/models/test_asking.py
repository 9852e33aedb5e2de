from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langgraph.graph import StateGraph

from rlm_graph.budget import Usage
from rlm_graph.errors import ModelError
from rlm_graph.models import ask, chat_model, pacing, retry_policy
from rlm_graph.models.library import facts
from rlm_graph.settings import ModelPrice, ModelSettings
from rlm_graph.testing import ScriptedCall, ScriptedModel, ScriptedReply, ScriptedServer

LISTED = "openai/gpt-4o-mini"
QUESTION = [HumanMessage("How many?")]


def model_at(server: ScriptedServer, name: str = LISTED, **settings: Any) -> Any:
    return chat_model(name, ModelSettings(base_url=server.url, **settings))


async def test_a_reply_comes_with_its_tokens_and_its_cost_after_one_request() -> None:
    with ScriptedServer([ScriptedReply("Forty-two of them.", input_tokens=1000, output_tokens=100)]) as server:
        reply = await ask(model_at(server), QUESTION)
        message, usage = reply.message, reply.usage

        assert server.count == 1

    listed = facts("gpt-4o-mini")
    assert listed is not None
    cost = 1000 * listed["input_cost_per_token"] + 100 * listed["output_cost_per_token"]
    assert type(message) is AIMessage
    assert message.text == "Forty-two of them."
    assert usage == Usage(input_tokens=1000, output_tokens=100, cost_usd=usage.cost_usd)
    assert usage.cost_usd == pytest.approx(cost)


async def test_cached_tokens_cost_what_the_provider_asks_for_them() -> None:
    with ScriptedServer([ScriptedReply("x", input_tokens=1000, output_tokens=0, cached_tokens=800)]) as server:
        usage = (await ask(model_at(server), QUESTION)).usage

    listed = facts("gpt-4o-mini")
    assert listed is not None
    cost = 200 * listed["input_cost_per_token"] + 800 * listed["cache_read_input_token_cost"]
    assert usage.cost_usd == pytest.approx(cost)


async def test_an_unknown_price_is_counted_as_unknown() -> None:
    with ScriptedServer(["hello"]) as server:
        usage = (await ask(model_at(server, "qwen3:8b"), QUESTION)).usage

    assert (usage.cost_usd, usage.unpriced_calls) == (0.0, 1)


async def test_a_price_in_the_settings_holds_before_any_list() -> None:
    prices = {LISTED: ModelPrice(input_usd=10, output_usd=20)}
    with ScriptedServer([ScriptedReply("hello", input_tokens=1000, output_tokens=100)]) as server:
        usage = (await ask(model_at(server, prices=prices), QUESTION)).usage

    assert usage.cost_usd == pytest.approx(0.01 + 0.002)
    assert usage.unpriced_calls == 0


async def test_a_price_of_zero_is_known() -> None:
    free = {"qwen3:8b": ModelPrice(input_usd=0, output_usd=0)}
    with ScriptedServer(["hello"]) as server:
        usage = (await ask(model_at(server, "qwen3:8b", prices=free), QUESTION)).usage

    assert (usage.cost_usd, usage.unpriced_calls) == (0.0, 0)


async def test_tokens_are_estimated_where_the_reply_states_none() -> None:
    with ScriptedServer([ScriptedReply("one two three four", usage=False)]) as server:
        through_litellm = (await ask(model_at(server), QUESTION)).usage
    by_ourselves = (await ask(ScriptedModel([ScriptedReply("one two three four", usage=False)]), QUESTION)).usage

    for usage in (through_litellm, by_ourselves):
        assert usage.input_tokens > 0
        assert usage.output_tokens > 0


async def test_a_reply_of_null_is_an_empty_text() -> None:
    with ScriptedServer([ScriptedReply(None)]) as server:
        message = (await ask(model_at(server), QUESTION)).message

    assert message.content == ""


async def test_native_tool_calls_come_through_whole() -> None:
    calls = [ScriptedCall("repl", {"code": "print('é')"}), ScriptedCall("repl", {"code": "2"})]
    with ScriptedServer([ScriptedReply("", tool_calls=calls), ScriptedReply(None, tool_calls=calls[:1])]) as server:
        model = model_at(server)
        several = (await ask(model, QUESTION)).message
        one = (await ask(model, QUESTION, tools=[{"type": "function", "function": {"name": "repl"}}])).message

        assert server.requests[1].tools[0]["function"]["name"] == "repl"

    assert [call["args"] for call in several.tool_calls] == [{"code": "print('é')"}, {"code": "2"}]
    assert [call["id"] for call in one.tool_calls] == ["call_1"]


async def test_fifty_requests_at_once_get_their_own_replies() -> None:
    with ScriptedServer(lambda request: f"reply to {request.prompt}") as server:
        model = model_at(server)
        replies = await asyncio.gather(*(ask(model, [HumanMessage(f"question {n}")]) for n in range(50)))

        assert server.count == 50

    assert [reply.message.text for reply in replies] == [f"reply to question {n}" for n in range(50)]


def test_a_model_serves_one_event_loop_after_the_other() -> None:
    with ScriptedServer(lambda _: "hello") as server:
        model = model_at(server)
        for _ in range(5):
            message = asyncio.run(ask(model, QUESTION)).message
            assert message.text == "hello"


class State(TypedDict, total=False):
    reply: str


def graph_asking(model: Any, settings: ModelSettings | None = None) -> Any:
    async def think(state: State) -> State:
        message = (await ask(model, QUESTION)).message
        return {"reply": message.text}

    graph = StateGraph(State)
    graph.add_node("think", think, retry_policy=retry_policy(settings or ModelSettings()))
    graph.set_entry_point("think")
    return graph.compile()


async def test_langgraph_shows_the_tokens_of_a_reply_as_they_come() -> None:
    with ScriptedServer([ScriptedReply("a reply in several pieces", chunk_chars=5)]) as server:
        graph = graph_asking(model_at(server))
        pieces = [chunk.text async for chunk, _ in graph.astream({}, stream_mode="messages")]

    assert [piece for piece in pieces if piece] == ["a rep", "ly in", " seve", "ral p", "ieces"]


async def test_a_model_that_cannot_stream_is_asked_plainly() -> None:
    class Plain(FakeListChatModel):
        async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            raise AssertionError("it cannot stream")
            yield

    model = Plain(responses=["whole"], disable_streaming=True)
    reply = await ask(model, QUESTION)
    message, usage = reply.message, reply.usage

    assert message.text == "whole"
    assert not isinstance(message, AIMessageChunk)
    assert usage.output_tokens > 0


async def test_a_failure_that_may_pass_is_retried_by_the_graph_and_nothing_else() -> None:
    busy = ScriptedReply(status=503, error="overloaded")
    with ScriptedServer([busy, busy, ScriptedReply("at last")]) as server:
        result = await graph_asking(model_at(server)).ainvoke({})

        assert server.count == 3

    assert result == {"reply": "at last"}


async def test_retries_end_with_their_number() -> None:
    settings = ModelSettings(max_retries=1)
    with ScriptedServer(lambda _: ScriptedReply(status=500, error="broken")) as server:
        with pytest.raises(ModelError, match="broken"):
            await graph_asking(model_at(server), settings).ainvoke({})

        assert server.count == 2


async def test_a_failure_that_will_not_pass_is_not_retried() -> None:
    with ScriptedServer(lambda _: ScriptedReply(status=400, error="no such parameter")) as server:
        with pytest.raises(ModelError, match="no such parameter"):
            await graph_asking(model_at(server)).ainvoke({})

        assert server.count == 1


async def test_the_pause_that_a_provider_asks_for_is_kept_by_all_who_ask_that_model() -> None:
    busy = ScriptedReply(status=429, error="slow down", headers={"retry-after": "30"})
    with ScriptedServer([busy, ScriptedReply("another model answers")]) as server:
        model, other = model_at(server), model_at(server, "openai/gpt-4o")
        with pytest.raises(ModelError, match="slow down") as caught:
            await ask(model, QUESTION)
        waiting = asyncio.create_task(ask(model, QUESTION))
        message = (await ask(other, QUESTION)).message

        assert server.count == 2
        waiting.cancel()

    assert caught.value.retry_after_s == 30
    assert 0 < pacing.seconds_to_wait(f"{LISTED} at {server.url}") <= 30
    assert message.text == "another model answers"


async def test_text_without_utf8_is_replaced_on_its_way_out_and_in() -> None:
    half = "\ud83d"
    blocks: list[str | dict[str, Any]] = [{"type": "text", "text": f"a{half}b"}]
    messages: list[BaseMessage] = [HumanMessage(f"x{half}y \U0001f600"), HumanMessage(blocks)]
    with ScriptedServer([f"p{half}q", "fine"]) as server:
        model = model_at(server)
        message = (await ask(model, messages)).message

        assert server.requests[0].messages[0]["content"] == "x�y \U0001f600"
        assert server.requests[0].prompt == "a�b"

    assert message.text == "p�q"
    assert messages[0].text == f"x{half}y \U0001f600"  # the caller's own stays


async def test_a_character_that_was_sent_in_two_halves_is_whole_again() -> None:
    with ScriptedServer([ScriptedReply("\ud83d\ude00 é \u2028", chunk_chars=1)]) as server:
        message = (await ask(model_at(server), QUESTION)).message

    assert message.text == "\U0001f600 é \u2028"


async def test_a_mistake_in_a_model_object_is_not_taken_for_the_providers() -> None:
    with pytest.raises(TypeError):
        await ask(ScriptedModel([TypeError("a bug")]), QUESTION)


@pytest.mark.parametrize("failure", [ModelError("busy", retryable=True), TimeoutError("slow"), ConnectionError("gone")])
async def test_any_models_failure_leaves_as_a_model_error(failure: Exception) -> None:
    with pytest.raises(ModelError) as caught:
        await ask(ScriptedModel([failure]), QUESTION)

    assert caught.value.retryable


QUIET = """
import asyncio, logging, sys
from langchain_core.messages import HumanMessage
from rlm_graph.errors import ModelError, SetupError
from rlm_graph.models import ask, chat_model, check_model, has_price, profile, window
from rlm_graph.settings import ModelSettings

assert "litellm" not in sys.modules
logging.getLogger("LiteLLM").setLevel(logging.DEBUG)
settings = ModelSettings(base_url=sys.argv[1])

async def main():
    for name in ("openai/gpt-4o-mini", "qwen3:8b"):
        model = chat_model(name, settings)
        has_price(model), window(model), profile(model)
        for _ in range(2):
            try:
                await ask(model, [HumanMessage("x")])
            except ModelError as error:
                print(error, file=sys.stderr)
    try:
        check_model("gptx")
    except SetupError as error:
        print(error, file=sys.stderr)

asyncio.run(main())
"""


def test_nothing_is_ever_printed_to_stdout() -> None:
    replies = [ScriptedReply("fine"), ScriptedReply(status=500, error="broken")] * 2
    with ScriptedServer(replies) as server:
        loud = {**os.environ, "LITELLM_LOG": "DEBUG"}
        command = [sys.executable, "-W", "error", "-c", QUIET, server.url]
        done = subprocess.run(command, capture_output=True, text=True, env=loud)

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "broken" in done.stderr
