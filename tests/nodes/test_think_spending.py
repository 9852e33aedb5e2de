"""What failed requests to the root model have cost is recorded before the next one, and never lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, Budget, ModelError, create_rlm_agent
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.settings import ModelPrice, ModelSettings
from rlm_graph.testing import ScriptedReply, ScriptedServer

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}
HALF = ScriptedReply("said half of what it wanted to say", drop_after=2)
BUSY = ScriptedReply(status=503, error="busy")
DONE = ScriptedReply("```repl\nFINAL('done')\n```", input_tokens=100, output_tokens=10)


@pytest.fixture
def replies() -> list[ScriptedReply]:
    return []


@pytest.fixture
def server(replies: list[ScriptedReply]) -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: replies.pop(0)) as server:
        yield server


@pytest.fixture
def agent(server: ScriptedServer) -> RLMGraph:
    settings = ModelSettings(
        base_url=server.url,
        max_retries=1,
        stream=True,
        profile="standard",
        prices={"openai/m": ModelPrice(input_usd=1, output_usd=1)},
    )
    return create_rlm_agent("openai/m", options=AgentOptions(models=settings), checkpointer=InMemorySaver())


async def state_of(agent: RLMGraph) -> dict[str, Any]:
    return dict((await agent.aget_state(CONFIG)).values)


async def test_a_failed_attempt_that_cost_something_is_recorded_in_a_step_before_the_next(
    agent: RLMGraph, replies: list[ScriptedReply], server: ScriptedServer
) -> None:
    replies += [HALF, DONE]
    told = []
    async for update in agent.astream({"question": "Go."}, CONFIG, stream_mode="updates"):
        told.append((*update, len(server.requests)))

    state = await state_of(agent)
    assert [name for name, _ in told] == ["observe", "think", "think", "act", "finalize"]
    assert told[1] == ("think", 1)
    assert state["answer"].value == "done"
    assert (state["usage"].turns, state["usage"].estimated_calls) == (1, 1)
    assert state["usage"].output_tokens > 10
    assert state["failures"] == []


async def test_what_the_last_attempt_cost_outlives_the_error_and_a_resume_asks_anew(
    agent: RLMGraph, replies: list[ScriptedReply], server: ScriptedServer
) -> None:
    replies += [HALF, HALF]
    with pytest.raises(ModelError) as raised:
        await agent.ainvoke({"question": "Go."}, CONFIG)
    failed = (await state_of(agent))["usage"]

    replies += [HALF, DONE]
    result = await agent.ainvoke(None, CONFIG)

    assert raised.value.retryable
    assert failed.estimated_calls == 2
    assert failed.cost_usd > 0
    assert result["usage"].estimated_calls == 3
    assert len(server.requests) == 4


async def test_attempts_that_cost_nothing_are_tried_again_within_the_step(
    agent: RLMGraph, replies: list[ScriptedReply]
) -> None:
    replies += [BUSY, DONE]

    result = await agent.ainvoke({"question": "Go."}, CONFIG)

    assert result["usage"].estimated_calls == 0
    assert "failures" not in await state_of(agent)


async def test_failures_that_reach_a_ceiling_end_the_run_with_its_best_answer(
    agent: RLMGraph, replies: list[ScriptedReply]
) -> None:
    replies += [HALF, ScriptedReply("The best there is.")]

    result = await agent.ainvoke({"question": "Go.", "budget": Budget(max_tokens=20)}, CONFIG)

    assert (result["answer"].text, result["answer"].complete) == ("The best there is.", False)
    assert result["answer"].ceiling == "max_tokens"
