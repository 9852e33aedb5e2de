"""One list of promises for both ways to a server of OpenAI's protocol: our own client, and litellm's."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from rlm_graph.budget import Usage
from rlm_graph.errors import ModelError
from rlm_graph.models import ModelReply, ask, chat_model, media_block, tool_options
from rlm_graph.models.openai_chat import OpenAIChat
from rlm_graph.settings import ModelPrice, ModelSettings
from rlm_graph.testing import ScriptedCall, ScriptedReply, ScriptedServer

NAME = "openai/gpt-4o-mini"
QUESTION = [HumanMessage("How many are there, all in all?")]
PRICE = ModelPrice(input_usd=1, output_usd=10)
TOOL = {"type": "function", "function": {"name": "count", "description": "", "parameters": {"type": "object"}}}


@pytest.fixture(params=["own", "litellm"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["streamed", "plain"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def model_at(server: ScriptedServer, client: str, *, name: str = NAME, **settings: Any) -> BaseChatModel:
    chosen = {"client": "litellm"} if client == "litellm" else {}
    model = chat_model(name, ModelSettings(base_url=server.url, prices={name: PRICE}, **chosen, **settings))
    assert isinstance(model, OpenAIChat) is (client == "own")
    return model


async def replied(client: str, reply: ScriptedReply, *, requests: int = 1, **settings: Any) -> ModelReply:
    with ScriptedServer(lambda request: reply) as server:
        answer = await ask(model_at(server, client, **settings), QUESTION)
        assert server.count == requests
    return answer


async def failed(client: str, reply: ScriptedReply, **settings: Any) -> tuple[ModelError, Usage]:
    spent: list[Usage] = []
    with ScriptedServer(lambda request: reply) as server:
        with pytest.raises(ModelError) as caught:
            await ask(model_at(server, client, **settings), QUESTION, spent=spent.append)
        assert server.count == 1
    total = sum(spent, Usage())
    assert (caught.value.usage or Usage()) == total
    assert len(spent) <= 1
    return caught.value, total


async def test_a_reply_comes_whole_with_its_tokens_and_cost(client: str, stream: bool) -> None:
    reply = await replied(client, ScriptedReply("Forty-two.", input_tokens=1000, output_tokens=100), stream=stream)

    assert type(reply.message) is AIMessage
    assert reply.message.text == "Forty-two."
    assert reply.usage == Usage(input_tokens=1000, output_tokens=100, cost_usd=0.002)
    assert reply.ending == "complete"


async def test_the_organization_and_project_that_pay_are_named(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    with ScriptedServer(lambda request: ScriptedReply("yes")) as server:
        await ask(model_at(server, client), QUESTION)
        [request] = server.requests

    assert (request.headers["openai-organization"], request.headers["openai-project"]) == ("org-1", "proj-1")


async def test_cached_tokens_and_those_of_thinking_are_told(client: str, stream: bool) -> None:
    scripted = ScriptedReply("x", input_tokens=100, output_tokens=50, cached_tokens=80, reasoning_tokens=40)

    counted = (await replied(client, scripted, stream=stream)).message.usage_metadata

    assert counted is not None
    assert counted["input_token_details"]["cache_read"] == 80
    assert counted["output_token_details"]["reasoning"] == 40


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_is_kept_apart_from_the_text(client: str, stream: bool, field: str) -> None:
    reply = await replied(client, ScriptedReply("90", reasoning="30 a month", reasoning_field=field), stream=stream)

    assert reply.message.text == "90"
    assert reply.message.additional_kwargs["reasoning_content"] == "30 a month"


async def test_tool_calls_come_through(client: str, stream: bool) -> None:
    calls = [ScriptedCall("count", {"of": "é"}), ScriptedCall("count", '{"of": ')]

    message = (await replied(client, ScriptedReply(None, tool_calls=calls), stream=stream)).message

    assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
        ("count", {"of": "é"}, "call_1")
    ]
    assert [call["args"] for call in message.invalid_tool_calls] == ['{"of": ']


async def test_a_conversation_with_tools_and_images_is_sent_alike() -> None:
    image = media_block("data:image/png;base64,aGk=")
    sound = media_block("data:audio/wav;base64,aGk=")
    call = {"name": "count", "args": {"of": "é"}, "id": "call_1", "type": "tool_call"}
    said: list[BaseMessage] = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "What is that?"}, image, sound]),
        AIMessage("", tool_calls=[call], additional_kwargs={"reasoning_content": "hm"}),
        ToolMessage("42", tool_call_id="call_1"),
        AIMessage([{"type": "reasoning", "reasoning": "so"}, {"type": "text", "text": "42"}]),
        HumanMessage("And now?"),
    ]
    sent = []
    for client in ("own", "litellm"):
        with ScriptedServer(lambda request: "fine") as server:
            model = model_at(server, client, temperature=0.5)
            await ask(model, said, **tool_options(model, [TOOL]), max_tokens=7, stop=["END"])
            sent.append({**server.requests[0].body})
    own, other = sent

    for body in sent:
        body.pop("stream", None)
        for message in body["messages"]:
            if message.get("content") in ("", None):
                message.pop("content")  # either is a message of calls alone
            for each in message.get("tool_calls", ()):
                each["function"]["arguments"] = json.loads(each["function"]["arguments"])
    assert own == other


async def test_a_server_that_cuts_filters_or_refuses_is_heard(client: str, stream: bool) -> None:
    for reply, ending in (
        (ScriptedReply("The notice period is", finish_reason="length"), "cut"),
        (ScriptedReply("", reasoning="hm " * 50, finish_reason="length"), "cut"),
        (ScriptedReply("", finish_reason="content_filter"), "filtered"),
        # litellm loses the refusal of a stream: there is nothing then.
        (ScriptedReply(None, refusal="I can't."), "empty" if client == "litellm" and stream else "refused"),
        (ScriptedReply("", reasoning="hm " * 50), "empty"),
        (ScriptedReply("<think>hm</think>\n"), "empty"),
        (ScriptedReply(""), "empty"),
        (ScriptedReply("", tool_calls=[ScriptedCall("count")]), "complete"),
    ):
        assert (await replied(client, reply, stream=stream)).ending == ending, reply


@pytest.mark.parametrize("after", [1, 2])
async def test_a_stream_that_ends_without_an_end_is_a_broken_one(client: str, after: int) -> None:
    error, spent = await failed(client, ScriptedReply("said half of what it wanted", close_after=after), stream=True)

    assert error.retryable
    assert spent.estimated_calls == 1
    assert spent.input_tokens > 0
    assert spent.output_tokens > 0
    assert spent.cost_usd == pytest.approx((spent.input_tokens + 10 * spent.output_tokens) / 1e6)


async def test_a_stream_that_breaks_is_charged_for_what_came(client: str) -> None:
    error, spent = await failed(client, ScriptedReply("said half of it, " * 40, drop_after=20), stream=True)

    assert error.retryable
    assert 40 < spent.output_tokens < 200
    assert spent.estimated_calls == 1


async def test_a_timeout_is_charged_for_the_question(client: str, stream: bool) -> None:
    reply = ScriptedReply("late", gate=threading.Event())

    error, spent = await failed(client, reply, request_timeout_s=0.5, stream=stream)

    assert "no reply in time" in str(error)
    assert spent.input_tokens > 0
    assert (spent.output_tokens, spent.estimated_calls) == (0, 1)


async def test_a_refusal_costs_nothing(client: str, stream: bool) -> None:
    for status in (400, 401, 404, 429, 500, 503):
        _, spent = await failed(client, ScriptedReply(status=status, error="no"), stream=stream)
        assert spent == Usage()


async def test_a_cancelled_request_is_charged(client: str, stream: bool) -> None:
    spent: list[Usage] = []
    reply = ScriptedReply("said half of what it wanted", stall_after=1, gate=threading.Event())
    with ScriptedServer([reply if stream else ScriptedReply("late", gate=threading.Event())]) as server:
        asking = asyncio.create_task(ask(model_at(server, client, stream=stream), QUESTION, spent=spent.append))
        await asyncio.to_thread(server.wait_for, 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    assert [(usage.input_tokens > 0, usage.estimated_calls) for usage in spent] == [(True, 1)]


async def test_a_reply_that_repeats_itself_is_never_free(client: str) -> None:
    reply = ScriptedReply("ha " * 300, chunk_chars=3)
    spent: list[Usage] = []
    with ScriptedServer([reply]) as server:
        model = model_at(server, client, stream=True)
        if client == "own":
            assert (await ask(model, QUESTION, spent=spent.append)).message.text == "ha " * 300
        else:  # litellm gives up after 100 equal pieces
            with pytest.raises(ModelError):
                await ask(model, QUESTION, spent=spent.append)

    assert [usage.output_tokens > 50 for usage in spent] == [True]


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1, "completion_tokens": -1, "total_tokens": -2}, {}])
async def test_tokens_that_cannot_be_are_estimated(stream: bool, usage: Any) -> None:
    reply = await replied("own", ScriptedReply("one two three four", stated_usage=usage), stream=stream)

    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert reply.usage.estimated_calls == 1


async def test_tokens_that_are_not_stated_are_estimated(client: str, stream: bool) -> None:
    reply = await replied(client, ScriptedReply("one two three four", usage=False), stream=stream)

    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0


async def test_a_server_that_refuses_to_stream_is_asked_plainly_from_then_on(client: str) -> None:
    with ScriptedServer(lambda request: ScriptedReply("fine", refuses=["stream"])) as server:
        model = model_at(server, client, stream=True)
        answers = [(await ask(model, QUESTION)).message.text for _ in range(2)]

        assert answers == ["fine", "fine"]
        assert [request.stream for request in server.requests] == [True, False, False]


async def test_a_server_that_refuses_stream_options_is_asked_without(client: str) -> None:
    with ScriptedServer(lambda request: ScriptedReply("fine", refuses=["stream_options"])) as server:
        model = model_at(server, client, stream=True)
        answers = [(await ask(model, QUESTION)) for _ in range(2)]

        assert server.count == 3
        assert not any("stream_options" in request.body for request in server.requests[1:])

    assert [reply.message.text for reply in answers] == ["fine", "fine"]
    assert all(reply.usage.input_tokens > 0 for reply in answers)


async def test_a_server_that_answers_whole_though_asked_to_stream_is_understood(client: str) -> None:
    calls = [ScriptedCall("count", {"of": "é"})]
    whole = ScriptedReply("fine", whole=True, tool_calls=calls, input_tokens=7, output_tokens=2)
    with ScriptedServer(lambda request: whole) as server:
        reply = await ask(model_at(server, client, stream=True), QUESTION)

    assert reply.message.text == "fine"
    assert [call["args"] for call in reply.message.tool_calls] == [{"of": "é"}]
    assert reply.usage.input_tokens >= 7


async def test_content_in_parts_is_put_together(stream: bool) -> None:
    reply = await replied("own", ScriptedReply("said in several parts", parts=True), stream=stream)

    assert reply.message.content == "said in several parts"


async def test_a_sign_in_page_is_an_error_that_may_pass(client: str, stream: bool) -> None:
    page = b"<!DOCTYPE html><html><title>Sign in</title></html>"
    reply = ScriptedReply(raw=page, headers={"content-type": "text/html"})
    if client == "own":
        error, _ = await failed(client, reply, stream=stream)
        assert "a web page ('Sign in') instead of a reply; is that the sign-in page of a proxy" in str(error)
    else:
        with ScriptedServer(lambda request: reply) as server, pytest.raises(ModelError) as caught:
            await ask(model_at(server, client, stream=stream), QUESTION)
        error = caught.value

    assert error.retryable


@pytest.mark.parametrize("date", [False, True])
async def test_the_pause_that_a_provider_asks_for_is_heard(client: str, stream: bool, date: bool) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    reply = ScriptedReply(status=429, error="slow down", headers={"retry-after": then if date else "30"})

    error, _ = await failed(client, reply, stream=stream)

    assert error.retryable
    assert error.retry_after_s is not None
    assert 5 < error.retry_after_s <= 30


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, "Incorrect key sk-abcdefghijklmnop", "the provider refused the key (401): Incorrect key [key]"),
        (404, "The model `x` does not exist.", "The model `x` does not exist. (404)"),
        (400, {"message": "too long", "code": "context_length_exceeded"}, "exceeds its context window"),
        (400, {"message": "no", "code": "content_policy_violation"}, "refused by the provider's content policy"),
        (429, {"message": "You exceeded your current quota.", "code": "insufficient_quota"}, "has nothing left (429)"),
        (503, "The engine is\n overloaded.", "The engine is overloaded. (503)"),
    ],
)
async def test_errors_have_the_same_words(client: str, stream: bool, status: int, body: Any, told: str) -> None:
    error, _ = await failed(client, ScriptedReply(status=status, error=body), stream=stream)

    assert str(error).startswith(f"{NAME}: ")
    assert told in str(error)


async def test_a_dead_proxy_is_named(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    with ScriptedServer(["never"]) as server, pytest.raises(ModelError) as caught:
        await ask(model_at(server, client), QUESTION)

    assert "the proxy http://127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.usage is None
