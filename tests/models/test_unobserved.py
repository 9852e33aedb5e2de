"""Who wants to hear of a request to a model hears of it, though nobody pays for that otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langsmith import Client, tracing_context

from rlm_graph.models import ask, chat_model
from rlm_graph.models.listening import is_unobserved
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedServer


class Hears(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.heard.append("start")

    async def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.heard.append("end")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda request: "yes") as server:
        yield server


def model_of(server: ScriptedServer) -> Any:
    return chat_model("openai/sub", ModelSettings(base_url=server.url))


async def test_handlers_of_the_config_and_of_the_model_hear_of_each_request(server: ScriptedServer) -> None:
    of_config, of_model = Hears(), Hears()
    model = model_of(server).model_copy(update={"callbacks": [of_model]})

    await ask(model, [HumanMessage("?")], config={"callbacks": [of_config]})

    assert of_config.heard == of_model.heard == ["start", "end"]


async def test_a_handler_of_the_context_counts_the_tokens(server: ScriptedServer) -> None:
    with get_usage_metadata_callback() as counted:
        await ask(model_of(server), [HumanMessage("?")])

    [tokens] = counted.usage_metadata.values()
    assert tokens["output_tokens"] > 0


async def test_a_cache_of_langchains_is_asked_first(server: ScriptedServer) -> None:
    set_llm_cache(InMemoryCache())
    try:
        for _ in range(2):
            reply = await ask(model_of(server), [HumanMessage("?")])
    finally:
        set_llm_cache(None)

    assert (reply.message.text, server.count) == ("yes", 1)


async def test_a_tracer_of_langsmiths_is_a_handler(server: ScriptedServer) -> None:
    model = model_of(server)
    assert is_unobserved(model, None)

    with tracing_context(
        enabled=True, client=Client(api_url="http://127.0.0.1:9", api_key="none", auto_batch_tracing=False)
    ):
        assert not is_unobserved(model, None)


async def test_a_limit_on_the_rate_holds(server: ScriptedServer) -> None:
    limited = model_of(server).model_copy(update={"rate_limiter": InMemoryRateLimiter(requests_per_second=1e9)})

    assert not is_unobserved(limited, None)
