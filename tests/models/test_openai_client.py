"""Our own client for servers of OpenAI's protocol: what is its alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.config import get_config
from langgraph.graph import StateGraph
from typing_extensions import TypedDict

from rlm_graph.errors import ModelError, SetupError
from rlm_graph.models import ask, chat_model, check_model, openai_messages
from rlm_graph.models.connections import proxy_for
from rlm_graph.models.endpoints import PROVIDERS, endpoint
from rlm_graph.models.library import load_litellm, provider_names
from rlm_graph.models.openai_chat import OpenAIChat
from rlm_graph.models.openai_replies import events
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedReply, ScriptedServer

QUESTION = [HumanMessage("How many?")]


def model_at(server: ScriptedServer, name: str = "openai/m", **settings: Any) -> Any:
    return chat_model(name, ModelSettings(base_url=server.url, **settings))


async def test_streamed_requests_one_after_another_share_a_connection() -> None:
    with ScriptedServer(lambda request: "a reply in several pieces") as server:
        model = model_at(server, stream=True)
        for _ in range(1000):
            await ask(model, QUESTION)

        assert server.count == 1000
        assert server.connections == 1


async def test_a_refused_or_broken_request_leaves_the_next_one_whole() -> None:
    replies = [ScriptedReply(status=400, error="no"), ScriptedReply("said half", drop_after=0), ScriptedReply("fine")]
    with ScriptedServer(replies) as server:
        model = model_at(server, stream=True)
        for _ in range(2):
            with pytest.raises(ModelError):
                await ask(model, QUESTION)

        assert (await ask(model, QUESTION)).message.text == "fine"


class State(TypedDict, total=False):
    reply: str


def graph_asking(model: Any) -> Any:
    async def think(state: State) -> State:
        return {"reply": (await ask(model, QUESTION, config=get_config())).message.text}

    graph = StateGraph(State)
    graph.add_node("think", think)
    graph.set_entry_point("think")
    return graph.compile()


async def test_a_reply_is_streamed_only_where_somebody_listens() -> None:
    class Hears(BaseCallbackHandler):
        def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
            heard.append(args[0])

    class Records(BaseCallbackHandler):
        """Wants no tokens."""

    heard: list[str] = []
    with ScriptedServer(lambda request: "a reply in several pieces") as server:
        graph = graph_asking(model_at(server))
        await graph.ainvoke({})
        [_ async for _ in graph.astream({}, stream_mode="values")]
        await graph.ainvoke({}, {"callbacks": [Records()]})
        [_ async for _ in graph.astream({}, stream_mode="messages")]
        await graph.ainvoke({}, {"callbacks": [Hears()]})
        [_ async for _ in graph.astream_events({}, version="v2")]

        assert [request.stream for request in server.requests] == [False, False, False, True, True, True]
    assert "".join(heard) == "a reply in several pieces"


@pytest.mark.parametrize(("stream", "sent"), [(True, True), (False, False)])
async def test_the_setting_decides_before_whoever_listens(stream: bool, sent: bool) -> None:
    with ScriptedServer(lambda request: "a reply") as server:
        graph = graph_asking(model_at(server, stream=stream))
        [_ async for _ in graph.astream({}, stream_mode="messages")]
        await graph.ainvoke({})

        assert [request.stream for request in server.requests] == [sent, sent]


async def test_a_message_is_encoded_once() -> None:
    said = [HumanMessage("one"), AIMessage("two"), HumanMessage("three")]
    before = len(openai_messages.encoded)
    with ScriptedServer(lambda request: "fine") as server:
        model = model_at(server)
        await ask(model, said[:1])
        first = openai_messages.encoded(said[0])
        await ask(model, said)

        assert openai_messages.encoded(said[0]) is first
        assert len(openai_messages.encoded) == before + 3
        said[0].content = "changed"
        await ask(model, said)
        assert server.requests[2].messages[0]["content"] == "changed"

    said.clear()
    assert len(openai_messages.encoded) == before


async def test_a_server_that_takes_another_name_of_the_limit_is_given_that() -> None:
    with ScriptedServer(lambda request: ScriptedReply("fine", refuses=["max_tokens"])) as server:
        model = model_at(server)
        for _ in range(2):
            await ask(model, QUESTION, max_tokens=5)

        limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in map(_body, server.requests)]
    assert limits == [(5, None), (None, 5), (None, 5)]


def _body(request: Any) -> dict[str, Any]:
    return dict(request.body)


async def test_a_large_request_is_sent_without_a_warning() -> None:
    with ScriptedServer(lambda request: str(len(request.prompt))) as server:
        reply = await ask(model_at(server), [HumanMessage("é" * 2_000_000)])

    assert reply.message.text == "2000000"


async def test_a_redirect_takes_the_key_nowhere() -> None:
    with ScriptedServer(["never"]) as other:
        away = ScriptedReply(status=307, error="moved", headers={"location": f"{other.url}/chat/completions"})
        with ScriptedServer([away]) as server, pytest.raises(ModelError, match="the server redirects to") as caught:
            await ask(model_at(server), QUESTION)

        assert other.count == 0
    assert not caught.value.retryable


async def test_events_are_read_however_they_are_cut() -> None:
    body = '\ufeff: hello\r\nevent: x\r\ndata: {"a":\r\ndata: "é"}\r\n\r\ndata:{"b":2}\n\ndata: [DONE]\n\n'.encode()
    for size in (1, 2, 7, 1000):

        async def pieces(size: int = size) -> AsyncIterator[bytes]:
            for start in range(0, len(body), size):
                yield body[start : start + size]

        assert [event async for event in events(pieces())] == [{"a": "é"}, {"b": 2}, None]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("sk-abc\n", "the key in OPENAI_API_KEY holds a line end"),
        ("sk-a\u2026c", r"the key in OPENAI_API_KEY holds the character '\u2026', which no key has"),
        ("sk-a c", "the key in OPENAI_API_KEY holds a space"),
    ],
)
@pytest.mark.parametrize("client", [None, "litellm"])
def test_a_key_that_cannot_be_sent_is_named(key: str, words: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for settings in (ModelSettings(client=client), ModelSettings(client=client, base_url="http://127.0.0.1:1/v1")):
        with pytest.raises(SetupError) as caught:
            check_model("openai/gpt-5", settings)
        assert words in str(caught.value)
        assert "sk-" not in str(caught.value)


def test_a_key_goes_to_its_provider_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "GROQ", "DEEPSEEK", "OPENROUTER"):
        monkeypatch.setenv(f"{name}_API_KEY", f"{name}-key")

    for name, url, key in (
        ("openai/gpt-5", "https://api.openai.com/v1", "OPENAI-key"),
        ("gpt-4o", "https://api.openai.com/v1", "OPENAI-key"),
        ("groq/llama", "https://api.groq.com/openai/v1", "GROQ-key"),
        ("deepseek/deepseek-chat", "https://api.deepseek.com/beta", "DEEPSEEK-key"),
        ("openrouter/anthropic/claude-sonnet-4.5", "https://openrouter.ai/api/v1", "OPENROUTER-key"),
        ("ollama/qwen3:8b", "http://localhost:11434/v1", "no-key"),
    ):
        model = chat_model(name)
        assert isinstance(model, OpenAIChat)
        assert (model.url, model.api_key.get_secret_value()) == (url, key)


@pytest.mark.parametrize(
    "name", ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro", "bedrock/x", "openai/o1-pro", "azure/gpt-4o"]
)
def test_a_provider_of_another_protocol_is_litellms(name: str) -> None:
    assert endpoint(name) is None


@pytest.mark.parametrize("url", ["http://box:11434", "http://box:11434/", "http://box:11434/v1"])
def test_ollama_is_found_by_either_of_its_addresses(url: str) -> None:
    there = endpoint("ollama_chat/qwen3:8b", url)

    assert there is not None
    assert there.url == "http://box:11434/v1"


def test_providers_are_where_litellm_has_them() -> None:
    litellm = load_litellm()
    assert {str(getattr(each, "value", each)) for each in litellm.provider_list} <= provider_names()
    for name, provider in PROVIDERS.items():
        if provider.url is None or not provider.needs_key or name in {"openai", "openrouter"}:
            continue
        _, _, _, url = litellm.get_llm_provider(model=f"{name}/m")
        assert url == provider.url, name


PROXIED = [
    ("https://api.openai.com/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
    ("https://api.openai.com/v1", {"ALL_PROXY": "p:1"}, "http://p:1"),
    ("https://api.openai.com/v1", {"HTTP_PROXY": "http://p:1"}, None),
    ("https://api.openai.com/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "openai.com"}, None),
    ("http://10.1.2.3:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
    ("http://11.1.2.3:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://p:1"),
]


@pytest.mark.parametrize(("url", "environment", "proxy"), PROXIED)
def test_the_environment_names_the_proxy(
    url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert proxy_for(url) == proxy


def test_a_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:secret@p:1")

    with pytest.raises(ModelError, match="the proxy socks5://p:1 is no HTTP proxy"):
        proxy_for("https://api.openai.com/v1")


def test_certificates_that_cannot_be_read_are_named() -> None:
    code = """
import asyncio
from langchain_core.messages import HumanMessage
from rlm_graph.models import ask, chat_model
try:
    asyncio.run(ask(chat_model("openai/gpt-5"), [HumanMessage("x")]))
except Exception as error:
    print(error)
"""
    environment = {**os.environ, "SSL_CERT_FILE": "/nowhere/ca.pem", "OPENAI_API_KEY": "x"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)

    assert "the certificates in SSL_CERT_FILE (/nowhere/ca.pem) cannot be read" in done.stdout


LOOPS = """
import asyncio, sys
from langchain_core.messages import HumanMessage
from rlm_graph.models import ask, chat_model
from rlm_graph.settings import ModelSettings

question = [HumanMessage("x")]
model = chat_model("openai/gpt-4o-mini", ModelSettings(base_url=sys.argv[1]))
for _ in range(3):
    print(asyncio.run(ask(model, question)).message.text)
print(model.invoke(question).text)  # on the bridge's loop
loop = asyncio.new_event_loop()  # one that nobody shuts down in good order
print(loop.run_until_complete(ask(model, question)).message.text)
loop.close()
print(asyncio.run(ask(model, question)).usage.unpriced_calls)
print([name for name in ("litellm", "openai") if name in sys.modules])
"""


def test_connections_end_with_their_loop_and_litellm_is_never_loaded() -> None:
    with ScriptedServer(lambda request: "fine") as server:
        command = [sys.executable, "-W", "error", "-X", "dev", "-c", LOOPS, server.url]
        done = subprocess.run(command, capture_output=True, text=True)

    assert done.stdout.splitlines() == [*["fine"] * 5, "0", "[]"], done.stderr
    assert "Unclosed" not in done.stderr


def _ask_in_a_child(url: str, told: Any) -> None:
    model = chat_model("openai/m", ModelSettings(base_url=url))
    told.send(asyncio.run(ask(model, QUESTION)).message.text)


async def test_a_forked_process_has_connections_of_its_own() -> None:
    with ScriptedServer(lambda request: "fine") as server:
        model = model_at(server)
        await ask(model, QUESTION)
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_ask_in_a_child, args=(server.url, there))
        child.start()
        assert await asyncio.to_thread(here.recv) == "fine"
        await asyncio.to_thread(child.join)
        await ask(model, QUESTION)

        assert server.connections == 2
    assert child.exitcode == 0
