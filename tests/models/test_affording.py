"""How long a reply may be under a ceiling on cost."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from rlm_graph import AgentOptions, Budget, create_rlm_agent
from rlm_graph.models import affordable_tokens
from rlm_graph.models.affording import LEAST_TOKENS, SAFE_TOKENS
from rlm_graph.settings import ModelPrice, ModelSettings
from rlm_graph.testing import ScriptedModel, ScriptedReply, ScriptedRequest, ScriptedServer

ASKED = [HumanMessage("How many?")]
NOT_ASKED: list[HumanMessage] = []


def priced(output_usd: float, **fields: Any) -> ScriptedModel:
    price = {"price": {"input_usd": 0, "output_usd": output_usd}}
    return ScriptedModel(["x"], metadata=price, **fields)


@pytest.mark.parametrize(
    ("left_usd", "limit"),
    [
        (0.003, 3_000),
        (0.0, LEAST_TOKENS),
        (0.001, LEAST_TOKENS),
        (SAFE_TOKENS / 1e6, None),
        (2.0, None),
        (None, None),
    ],
)
def test_a_reply_is_no_longer_than_the_money_lasts(left_usd: float | None, limit: int | None) -> None:
    assert affordable_tokens(priced(1.0), ASKED, left_usd) == limit


def test_what_is_read_is_paid_for_first() -> None:
    both = ScriptedModel(["x"], metadata={"price": {"input_usd": 1, "output_usd": 1}})

    limit = affordable_tokens(both, [HumanMessage("word " * 400)], 0.003)

    assert limit is not None
    assert LEAST_TOKENS < limit < 2_600


def test_the_limit_of_a_model_that_is_known_stands() -> None:
    long = ScriptedModel(
        ["x"], profile={"max_output_tokens": 64_000}, metadata={"price": {"input_usd": 0, "output_usd": 1}}
    )
    short = ScriptedModel(
        ["x"], profile={"max_output_tokens": 1_000}, metadata={"price": {"input_usd": 0, "output_usd": 1}}
    )

    assert affordable_tokens(long, NOT_ASKED, 0.03) in (29_999, 30_000)
    assert affordable_tokens(short, NOT_ASKED, 0.0) is None


def test_nothing_is_said_of_a_model_that_costs_nothing_or_nobody_knows_what() -> None:
    assert affordable_tokens(priced(0.0), ASKED, 0.0) is None
    assert affordable_tokens(ScriptedModel(["x"]), ASKED, 0.0) is None


async def test_each_request_of_a_run_is_bounded_by_what_its_ceiling_leaves() -> None:
    def answer(request: ScriptedRequest) -> ScriptedReply:
        if request.model == "sub":
            return ScriptedReply("ten", input_tokens=1, output_tokens=1)
        return ScriptedReply("```repl\nFINAL(llm_query('How many?'))\n```", input_tokens=1, output_tokens=1_000)

    price = ModelPrice(input_usd=0, output_usd=1)
    with ScriptedServer(answer) as server:
        settings = ModelSettings(
            base_url=server.url, profile="standard", prices={"openai/root": price, "openai/sub": price}
        )
        agent = create_rlm_agent("openai/root", sub_model="openai/sub", options=AgentOptions(models=settings))
        result = await agent.ainvoke({"question": "Go.", "budget": Budget(max_cost_usd=0.004)})
        limits = [request.body.get("max_tokens") for request in server.requests]

    assert result["answer"].value == "ten"
    assert limits == [4_000, 3_000]
