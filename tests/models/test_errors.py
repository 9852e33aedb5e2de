from __future__ import annotations

import pickle
import socket
import threading
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from rlm_graph.errors import ModelError
from rlm_graph.models import as_model_error, ask, chat_model
from rlm_graph.models.errors import MAX_CHARS, provider_words
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedReply, ScriptedServer

KEY = "sk-proj-0123456789abcdefghijklmnop"


async def failure(reply: ScriptedReply, **settings: Any) -> ModelError:
    """What `ask` raises when the server does that; the server must have been asked once."""
    with ScriptedServer([reply]) as server:
        model = chat_model("openai/gpt-4o-mini", ModelSettings(base_url=server.url, **settings))
        with pytest.raises(ModelError) as caught:
            await ask(model, [HumanMessage("x")])
        assert server.count == 1
    return caught.value


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_a_failure_that_may_pass_is_retryable_and_tells_the_providers_words(status: int) -> None:
    error = await failure(ScriptedReply(status=status, error="The engine is\n overloaded."))

    assert error.retryable
    assert "The engine is overloaded." in str(error)
    assert_clean(error)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_a_failure_that_will_not_pass_is_not_retryable(status: int) -> None:
    error = await failure(ScriptedReply(status=status, error="The model `x` does not exist."))

    assert not error.retryable
    assert "The model `x` does not exist." in str(error)
    assert_clean(error)


def assert_clean(error: ModelError) -> None:
    text = str(error)
    assert text.startswith("openai/gpt-4o-mini: ")
    assert "\n" not in text
    for boilerplate in ("litellm", "Exception", "Error:", "Give Feedback"):
        assert boilerplate not in text


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded"}),
        (400, {"message": "the request exceeds the available context size. try increasing it"}),
        (500, {"message": "Prompt is too long: 20000 tokens"}),
    ],
)
async def test_a_request_beyond_the_window_is_told_apart(status: int, body: dict[str, str]) -> None:
    error = await failure(ScriptedReply(status=status, error=body))

    assert error.too_long
    assert not error.retryable
    assert body["message"] in str(error)


async def test_a_refusal_by_policy_is_not_retryable() -> None:
    body = {"message": "Your request was rejected by our safety system.", "code": "content_policy_violation"}

    error = await failure(ScriptedReply(status=400, error=body))

    assert not error.retryable
    assert "content policy" in str(error)


async def test_an_empty_account_is_not_retried_though_its_status_is_that_of_a_rate_limit() -> None:
    body = {"message": "You exceeded your current quota, please check your plan.", "code": "insufficient_quota"}

    error = await failure(ScriptedReply(status=429, error=body))

    assert not error.retryable


async def test_no_key_is_ever_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-no-known-form")
    words = f"Incorrect key {KEY}, not a-key-of-no-known-form, Bearer abc.def"

    error = await failure(ScriptedReply(status=401, error=words))

    assert "refused the key (401): Incorrect key [key], not [key], Bearer [key]" in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        ScriptedReply("cut off in the middle of it", drop_after=1),
        ScriptedReply("said half of what it wanted", error="overloaded in the middle"),
        ScriptedReply(raw=b'data: {"choi\n\n', headers={"content-type": "text/event-stream"}),
        ScriptedReply(raw=b'{"not json'),
        ScriptedReply(raw=b""),
        ScriptedReply(raw=b"<html>a captive portal</html>", headers={"content-type": "text/html"}),
        ScriptedReply(raw=b'{"choices": []}'),
    ],
)
async def test_a_broken_reply_is_an_error_that_may_pass(reply: ScriptedReply) -> None:
    error = await failure(reply, stream=True)

    assert error.retryable
    assert not error.too_long


async def test_a_stream_that_falls_silent_ends_with_the_timeout() -> None:
    error = await failure(ScriptedReply("said half", stall_after=1), request_timeout_s=0.5, stream=True)

    assert error.retryable


async def test_a_server_that_does_not_begin_ends_with_the_timeout() -> None:
    error = await failure(ScriptedReply("late", gate=threading.Event()), request_timeout_s=0.5)

    assert error.retryable
    assert "no reply in time" in str(error)


async def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, and nobody listens: no other process can take the port
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        model = chat_model("qwen3:8b", ModelSettings(base_url=url))
        with pytest.raises(ModelError) as caught:
            await ask(model, [HumanMessage("x")])

    assert f"cannot reach the server at {url}; is it running?" in str(caught.value)
    assert caught.value.retryable


def test_a_message_inside_a_json_body_is_dug_out() -> None:
    body = '{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'

    words = provider_words(RuntimeError(f"litellm.AuthenticationError: AnthropicException - {body}"))

    assert words == "invalid x-api-key"


def test_words_are_cut_and_never_empty() -> None:
    assert len(provider_words(RuntimeError("word " * 1000))) <= MAX_CHARS + 1
    assert provider_words(RuntimeError("")) == "RuntimeError"
    assert provider_words(RuntimeError("a\ud800b")) == "a\ufffdb"


def test_errors_of_our_own_and_of_the_graph_are_left_alone() -> None:
    from langgraph.errors import GraphBubbleUp

    for error in (ModelError("x"), GraphBubbleUp(), KeyError("x"), ValueError("x")):
        assert as_model_error(error, name="m") is None


def test_an_error_keeps_its_facts_when_it_is_stored() -> None:
    error = pickle.loads(pickle.dumps(ModelError("x", retryable=True, too_long=True, retry_after_s=3.0)))

    assert (str(error), error.retryable, error.too_long, error.retry_after_s) == ("x", True, True, 3.0)
