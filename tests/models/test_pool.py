"""Several models that stand for one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable
from langgraph.cache.memory import InMemoryCache

from rlm_graph import AgentOptions, ContextStore, ModelError, SetupError, create_rlm_agent
from rlm_graph.models import (
    ReplyCache,
    ask,
    cache_of,
    chat_model,
    check_model,
    has_price,
    pacing,
    profile,
    tool_options,
    window,
)
from rlm_graph.models.pool import Pool, destination
from rlm_graph.settings import ModelPrice, ModelSettings, PoolSettings, Settings
from rlm_graph.testing import ScriptedModel, ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl

ASKED = [HumanMessage("Which?")]
DOWN = ModelError("out of service", retryable=True)


def says(name: str, *, price: float | None = None, window_tokens: int | None = None) -> ScriptedModel:
    """A model that answers with its name."""
    return ScriptedModel(
        lambda messages: name,
        model=name,
        metadata=None if price is None else {"price": {"input_usd": price, "output_usd": price}},
        profile=None if window_tokens is None else {"max_input_tokens": window_tokens},
    )


def fails(error: ModelError) -> ScriptedModel:
    return ScriptedModel(lambda messages: error, model=f"failing-{error}")


async def test_when_one_fails_the_next_is_asked_and_paid() -> None:
    second = says("second", price=1.0)
    pool = Pool(model="pool", members=[fails(DOWN), second])

    reply = await ask(pool, ASKED)
    message, usage = reply.message, reply.usage

    assert message.text == "second"
    assert usage.cost_usd > 0
    assert usage.unpriced_calls == 0


async def test_when_all_fail_it_may_pass_if_one_of_them_may() -> None:
    pool = Pool(model="pool", members=[fails(DOWN), fails(ModelError("no such key"))])

    with pytest.raises(ModelError, match="no such key") as caught:
        await ask(pool, ASKED)

    assert caught.value.retryable


async def test_a_balanced_pool_asks_each_in_its_turn() -> None:
    pool = Pool(model="pool", members=[says("a"), says("b"), says("c")], policy="balanced")

    assert [(await ask(pool, ASKED)).message.text for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


async def test_the_cheapest_that_can_read_the_request_is_asked_and_one_of_unknown_price_last() -> None:
    small = says("small", price=0.1, window_tokens=50)
    large, unknown = says("large", price=5.0, window_tokens=10_000), says("unknown")
    pool = Pool(model="pool", members=[unknown, large, small], policy="cheapest")

    assert (await ask(pool, ASKED)).message.text == "small"
    assert (await ask(pool, [HumanMessage("long " * 200)])).message.text == "large"
    assert [member.model for member in pool.candidates(ASKED)] == ["small", "large", "unknown"]


async def test_a_member_whose_provider_asked_for_a_pause_is_asked_last() -> None:
    busy, idle = says("busy"), says("idle")
    pool = Pool(model="pool", members=[busy, idle])
    pacing.hold_back(destination(busy), 60)

    assert [member.model for member in pool.candidates(ASKED)] == ["idle", "busy"]
    assert (await ask(pool, ASKED)).message.text == "idle"


async def test_tools_reach_each_member_in_its_own_form() -> None:
    class Other(ScriptedModel):
        def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
            return self.bind(tools=[f"mine: {tool['function']['name']}" for tool in tools])

        async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
            seen.append(kwargs.get("tools"))
            return await super()._agenerate(messages, *args, **kwargs)

    seen: list[Any] = []
    pool = Pool(model="pool", members=[fails(DOWN), Other(["done"], model="other")])
    offered = tool_options(pool, [{"type": "function", "function": {"name": "f", "parameters": {}}}])

    await ask(pool, ASKED, **offered)

    assert seen == [["mine: f"]]


def test_a_pool_is_as_large_as_its_smallest_and_priced_if_all_are() -> None:
    pool = [says("a", price=1.0, window_tokens=500), says("b", window_tokens=900)]

    assert window(Pool(model="p", members=pool)) == 500
    assert window(Pool(model="p", members=pool, policy="cheapest")) == 900
    assert not has_price(Pool(model="p", members=pool))
    assert has_price(Pool(model="p", members=pool[:1]))


def test_settings_name_a_pool_and_what_is_missing_for_a_member_is_said() -> None:
    settings = ModelSettings(pools={"cheap": PoolSettings(models=("ollama/qwen3:8b", "openai/gpt-5-mini"))})

    assert profile("cheap", settings) == "small"
    with pytest.raises(SetupError, match="no key for openai/gpt-5-mini"):
        check_model("cheap", settings)
    with pytest.raises(ValueError, match="holds the pool cheap"):
        ModelSettings(pools={**settings.pools, "all": PoolSettings(models=("cheap",))})


@pytest.fixture
def contexts(tmp_path: Path) -> ContextStore:
    return ContextStore(tmp_path / "contexts")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    def script(request: ScriptedRequest) -> ScriptedReply | str:
        if request.model == "down":
            return ScriptedReply(status=503, error="overloaded")
        return repl("FINAL(llm_query('which model?'))") if "# Question" in request.text else request.model

    with ScriptedServer(script) as server:
        yield server


def test_an_agent_runs_on_a_pool_and_pays_the_one_that_answered(server: ScriptedServer, contexts: ContextStore) -> None:
    settings = ModelSettings(
        base_url=server.url,
        profile="standard",
        pools={"mine": PoolSettings(models=("openai/down", "openai/up"))},
        prices={"openai/up": ModelPrice(input_usd=1.0, output_usd=1.0)},
    )
    agent = create_rlm_agent("mine", options=AgentOptions(models=settings, contexts=contexts))

    result = agent.invoke({"question": "Who?"})

    assert result["answer"].value == "up"
    assert result["usage"].cost_usd > 0
    assert result["usage"].unpriced_calls == 0
    assert [request.model for request in server.requests] == ["down", "up"] * 2


def test_with_a_cache_an_equal_run_asks_nobody_and_spends_nothing(
    server: ScriptedServer, contexts: ContextStore
) -> None:
    settings = ModelSettings(base_url=server.url, profile="standard")
    agent = create_rlm_agent(
        "openai/up", options=AgentOptions(models=settings, contexts=contexts), cache=InMemoryCache()
    )
    first = agent.invoke({"question": "Who?"})
    asked = server.count

    again = agent.invoke({"question": "Who?"})
    other = agent.invoke({"question": "Who else?"})

    assert again["answer"].value == first["answer"].value == "up"
    assert (again["usage"].tokens, again["usage"].cost_usd) == (0, 0.0)
    assert first["usage"].tokens > 0
    assert server.count == asked + 1  # its sub-call was asked before
    assert other["answer"].value == "up"


async def test_a_cached_reply_depends_on_the_options_and_keeps_its_tool_calls() -> None:
    call = ScriptedModel(lambda messages: ScriptedReply("hm", tool_calls=[]), model="m")
    replies = ReplyCache(InMemoryCache())

    await ask(call, ASKED, replies=replies)
    await ask(call, ASKED, replies=replies)
    await ask(call, ASKED, replies=replies, max_tokens=5)

    assert len(call.calls) == 2


def test_what_stays_the_same_is_marked_for_models_that_want_marks(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "x")

    def marked(name: str, **settings: Any) -> list[bool]:
        model = chat_model(name, ModelSettings(base_url=server.url, **settings))
        asyncio.run(ask(model, [HumanMessage("one"), HumanMessage("two")]))
        return ["cache_control" in str(message) for message in server.requests[-1].messages]

    assert any(marked("litellm_proxy/claude-sonnet-4-5"))
    assert not any(marked("litellm_proxy/claude-sonnet-4-5", cache_prompts=False))
    assert not any(marked("openai/gpt-5-mini"))


async def test_the_cache_of_the_settings_outlives_the_process_and_is_sealed_where_runs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "0123456789abcdef")
    kept = ModelSettings(cache_ttl_s=3_600)

    assert cache_of(Settings(data_dir=tmp_path)) is None
    for encrypt in (False, True):
        settings = Settings(data_dir=tmp_path, models=kept, encrypt=encrypt)
        model = ScriptedModel(["the reply that is kept"])
        for _ in range(2):
            cache = cache_of(settings)
            assert cache is not None
            message = (await ask(model, ASKED, replies=ReplyCache(cache, kept.cache_ttl_s))).message
            assert message.text == "the reply that is kept"

    in_clear, sealed = (
        b"".join(path.read_bytes() for path in tmp_path.glob(f"{name}*")) for name in ("replies", "sealed")
    )
    assert b"that is kept" in in_clear
    assert sealed
    assert b"that is kept" not in sealed
