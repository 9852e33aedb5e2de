from __future__ import annotations

import subprocess
import sys

import pytest
from langchain_core.messages import HumanMessage

from rlm_graph.errors import SetupError
from rlm_graph.models import ask, chat_model, check_model, model_name, profile
from rlm_graph.models.chat import NO_KEY, Route, is_private, route
from rlm_graph.settings import ModelPrice, ModelSettings
from rlm_graph.testing import ScriptedModel, ScriptedServer

HERE = "http://127.0.0.1:8000/v1"


def test_a_model_object_is_returned_as_it_is() -> None:
    model = ScriptedModel(["x"])

    assert chat_model(model) is model
    check_model(model)


@pytest.mark.parametrize("variable", ["LLM_BASE_URL", "OPENAI_BASE_URL"])
async def test_a_server_of_ones_own_needs_no_key_and_no_provider(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(["hello"]) as server:
        monkeypatch.setenv(variable, server.url)
        check_model("qwen3:8b")
        message = (await ask(chat_model("qwen3:8b"), [HumanMessage("x")])).message

        assert message.text == "hello"
        assert server.requests[0].model == "qwen3:8b"
        assert server.requests[0].headers["authorization"] == f"Bearer {NO_KEY}"


async def test_a_key_that_is_set_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda _: "hello") as server:
        settings = ModelSettings(base_url=server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "first")
        await ask(chat_model("m", settings), [HumanMessage("x")])
        monkeypatch.setenv("LLM_API_KEY", "second")
        await ask(chat_model("m", settings), [HumanMessage("x")])

        sent = [request.headers["authorization"] for request in server.requests]

    assert sent == ["Bearer first", "Bearer second"]


async def test_the_temperature_is_sent_only_where_it_is_set() -> None:
    with ScriptedServer(lambda _: "hello") as server:
        await ask(chat_model("m", ModelSettings(base_url=server.url)), [HumanMessage("x")])
        await ask(chat_model("m", ModelSettings(base_url=server.url, temperature=0.25)), [HumanMessage("x")])

        first, second = server.requests

    assert "temperature" not in first.body
    assert second.body["temperature"] == 0.25


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("qwen3:8b", Route("openai/qwen3:8b", HERE, NO_KEY)),
        ("meta-llama/Llama-3.1-8B", Route("openai/meta-llama/Llama-3.1-8B", HERE, NO_KEY)),
        ("openai/gpt-4o", Route("openai/gpt-4o", HERE, NO_KEY)),
        ("hosted_vllm/a/b", Route("hosted_vllm/a/b", HERE, None)),
        ("ollama_chat/qwen3:8b", Route("ollama_chat/qwen3:8b", HERE, None)),
        ("anthropic/claude-sonnet-4-5", Route("anthropic/claude-sonnet-4-5", None, None)),
        ("groq/x", Route("groq/x", None, None)),
    ],
)
def test_a_base_url_is_for_names_without_a_provider_and_for_protocols(name: str, there: Route) -> None:
    assert route(name, ModelSettings(base_url=HERE)) == there


def test_the_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://third/v1")
    assert route("m").base_url == "http://third/v1"
    monkeypatch.setenv("LLM_BASE_URL", "http://second/v1")
    assert route("m").base_url == "http://second/v1"
    assert route("m", ModelSettings(base_url="http://first/v1")).base_url == "http://first/v1"


def test_without_a_base_url_a_name_is_litellms() -> None:
    assert route("gpt-4o") == Route("gpt-4o", None, None)


def test_a_route_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", "hidden")
    settings = ModelSettings(base_url=HERE)

    assert "hidden" not in repr(route("m", settings)) + repr(chat_model("m", settings))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("openai/gpt-5", "no key for openai/gpt-5: set OPENAI_API_KEY"),
        ("gpt-4o", "no key for gpt-4o: set OPENAI_API_KEY"),
        ("anthropic/claude-sonnet-4-5", "set ANTHROPIC_API_KEY"),
        ("gemini/gemini-2.5-pro", "set GOOGLE_API_KEY or GEMINI_API_KEY"),
        ("gptx", "unknown model 'gptx': name it provider/model, such as openai/gpt-5"),
        ("gpt-4o-minni", "close matches: gpt-4o-mini"),
        ("opnai/gpt-4o", "close matches: openai/gpt-4o"),
    ],
)
def test_what_is_missing_is_said_before_any_request(name: str, advice: str) -> None:
    with pytest.raises(SetupError, match=r".") as caught:
        check_model(name)

    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_makes_it_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")

    check_model("openai/gpt-5")


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_key_is_none(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", empty)

    with pytest.raises(SetupError, match=r"no key for openai/gpt-5: OPENAI_API_KEY is set, but empty"):
        check_model("openai/gpt-5")


@pytest.mark.parametrize("name", ["ollama/qwen3:8b", "bedrock/anthropic.claude-3-haiku-20240307-v1:0", "lm_studio/x"])
def test_a_provider_that_may_need_no_key_is_not_refused(name: str) -> None:
    check_model(name)


def test_a_base_url_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_BASE_URL", "localhost:8000")

    with pytest.raises(SetupError, match="not an http"):
        check_model("m")


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("qwen3:8b", HERE, "small"),
        ("qwen3:8b", "http://gpu-box.local:8000/v1", "small"),
        ("qwen3:8b", "https://openrouter.ai/api/v1", "standard"),
        ("ollama/qwen3:8b", None, "small"),
        ("openai/gpt-5", None, "standard"),
        ("anthropic/claude-sonnet-4-5", HERE, "standard"),
    ],
)
def test_models_on_this_machine_or_its_network_are_prompted_as_small_ones(
    name: str, url: str | None, expected: str
) -> None:
    settings = ModelSettings(base_url=url)

    assert profile(name, settings) == expected
    assert profile(chat_model(name, settings), settings) == expected
    assert profile(name, ModelSettings(base_url=url, profile="standard")) == "standard"


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://localhost:1/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://192.168.1.5/v1", True),
        ("http://vllm:8000/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://8.8.8.8/v1", False),
    ],
)
def test_private_addresses_are_known_without_a_lookup(url: str, private: bool) -> None:
    assert is_private(url) is private


def test_models_go_by_their_names() -> None:
    assert model_name("openai/gpt-5") == "openai/gpt-5"
    assert model_name(chat_model("openai/gpt-5")) == "openai/gpt-5"
    assert model_name(ScriptedModel(["x"], model="my-model")) == "my-model"


def test_a_price_travels_with_the_model() -> None:
    settings = ModelSettings(base_url=HERE, prices={"m": ModelPrice(input_usd=1, output_usd=2)})

    metadata = chat_model("m", settings).metadata

    assert metadata is not None
    assert metadata["price"] == {"input_usd": 1.0, "output_usd": 2.0}


def test_warming_up_loads_what_a_name_needs() -> None:
    code = """
import sys
from rlm_graph.models import chat_model, warm_up
thread = warm_up()
print(chat_model("openai/gpt-5").model)  # waits for the rest
thread.join()
print("langchain_litellm" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["openai/gpt-5", "True"]


def test_importing_the_package_imports_no_litellm() -> None:
    code = "import rlm_graph.models, rlm_graph.testing, sys; print('litellm' in sys.modules, 'openai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]
