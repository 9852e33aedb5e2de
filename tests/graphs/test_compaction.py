"""Long runs stay inside the model's window, and lose nothing but the reading of old output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, Budget, Caps, ContextStore, ModelError, create_rlm_agent
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl

WINDOW = 4_000
"""Tokens, as the server counts them."""
ROUNDS = 60
BUDGET = Budget(max_turns=None, max_cost_usd=None, timeout_s=None)


class Clerk:
    """A model with a small window: it adds one number in each round, and refuses what it cannot read."""

    def __init__(self, window_tokens: int = WINDOW) -> None:
        self.window_tokens = window_tokens
        self.rounds = 0
        self.refused = 0
        self.longest = 0

    def __call__(self, request: ScriptedRequest) -> ScriptedReply | str:
        size = len(request.text) // 3
        if size > self.window_tokens:
            self.refused += 1
            message = f"This model's maximum context length is {self.window_tokens} tokens; you sent {size}"
            return ScriptedReply(status=400, error={"message": message, "code": "context_length_exceeded"})
        assert "Add them all up" in request.text, "the question is gone"
        self.longest = max(self.longest, size)
        self.rounds += 1
        if self.rounds > ROUNDS:
            return "FINAL_VAR(total)"
        number = self.rounds
        start = "total, seen = 0, []\n" if number == 1 else ""
        return repl(f"{start}seen.append({number})\ntotal += {number}\nprint('line of output', '.' * 2_000)")


def ask(clerk: Clerk, contexts: ContextStore, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    with ScriptedServer(clerk) as server:
        agent = create_rlm_agent(
            "openai/clerk",
            options=AgentOptions(
                models=ModelSettings(base_url=server.url, profile="standard", **settings),
                caps=Caps(max_turns=None, timeout_s=None),
                contexts=contexts,
            ),
            budget=BUDGET,
            checkpointer=InMemorySaver(),
        )
        config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 400}
        result = agent.invoke({"question": "Add them all up", "context": "numbers"}, config)
        return result, dict(agent.get_state(config).values)


def test_a_run_of_sixty_turns_ends_right_in_a_small_window(contexts: ContextStore) -> None:
    clerk = Clerk()

    result, state = ask(clerk, contexts, window_tokens=WINDOW)

    assert result["answer"].value == sum(range(1, ROUNDS + 1))
    assert clerk.refused == 0
    assert clerk.longest <= WINDOW
    # The state keeps what the model no longer reads.
    assert len(state["turns"]) == ROUNDS + 1
    assert json.dumps([message.text for message in state["dialogue"]]).count("line of output") >= ROUNDS


def test_a_window_that_nobody_knows_is_found_out_and_remembered(contexts: ContextStore) -> None:
    clerk = Clerk()

    result, state = ask(clerk, contexts)

    assert result["answer"].value == sum(range(1, ROUNDS + 1))
    assert 1 <= clerk.refused <= 3
    assert state["window"] <= WINDOW


def test_a_window_that_not_even_the_rules_fit_into_is_the_providers_error(contexts: ContextStore) -> None:
    with pytest.raises(ModelError, match="context window"):
        ask(Clerk(window_tokens=100), contexts)
