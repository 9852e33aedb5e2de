"""What sub-calls have spent, over all their attempts, reaches the account of the run and the record of the call."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, create_rlm_agent
from rlm_graph.settings import ModelPrice, ModelSettings
from rlm_graph.testing import ScriptedReply, ScriptedRequest, ScriptedServer

CODE = "```repl\ntry:\n    said = llm_query('How many?')\nexcept Exception as e:\n    said = str(e)\nFINAL(said)\n```"
ROOT, SUB = "openai/root", "openai/sub"
HALF = ScriptedReply("said half of what it wanted to say", drop_after=2)


def answers(*replies: ScriptedReply) -> Any:
    """Script the root, which asks one question from code, and what the sub-model does, attempt by attempt."""
    attempts = iter(replies)

    def answer(request: ScriptedRequest) -> ScriptedReply:
        if request.model == "root":
            return ScriptedReply(CODE, input_tokens=1, output_tokens=0)
        return next(attempts)

    return answer


async def asked(server: ScriptedServer) -> dict[str, Any]:
    """Return the whole state in which the run ended."""
    free, price = ModelPrice(input_usd=0, output_usd=0), ModelPrice(input_usd=1, output_usd=1)
    settings = ModelSettings(
        base_url=server.url, max_retries=1, stream=True, profile="standard", prices={ROOT: free, SUB: price}
    )
    agent = create_rlm_agent(ROOT, sub_model=SUB, options=AgentOptions(models=settings), checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    await agent.ainvoke({"question": "How many?"}, config)
    return dict((await agent.aget_state(config)).values)


async def test_an_attempt_that_broke_is_charged_beside_the_one_that_answered() -> None:
    whole = ScriptedReply("Nine.", input_tokens=100, output_tokens=10)
    with ScriptedServer(answers(HALF, whole)) as server:
        result = await asked(server)

    spent = result["usage"]
    assert result["answer"].value == "Nine."
    assert (spent.subcalls, spent.estimated_calls) == (2, 1)
    assert spent.input_tokens > 101
    assert spent.output_tokens > 10
    assert spent.cost_usd > 110 / 1e6
    [turn] = result["turns"]
    [call] = turn.calls
    assert (call.usage.subcalls, call.usage.estimated_calls) == (2, 1)
    assert call.usage.output_tokens == spent.output_tokens


async def test_attempts_that_all_broke_are_charged() -> None:
    with ScriptedServer(answers(HALF, HALF)) as server:
        result = await asked(server)

    spent = result["usage"]
    assert (spent.subcalls, spent.estimated_calls) == (2, 2)
    assert spent.output_tokens > 0
    assert spent.cost_usd > 0
