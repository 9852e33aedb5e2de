"""What is set up before an agent is built, and how it is built."""

from __future__ import annotations

import os

import pytest

from rlm_graph.errors import Hint, SetupError
from rlm_graph.runs.building import built_agent, check_models, set_environment
from rlm_graph.settings import Settings
from rlm_graph.testing import ScriptedModel


def test_tracing_stays_off_unless_the_settings_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")

    set_environment(Settings())
    off = os.environ["LANGSMITH_TRACING"]
    set_environment(Settings(tracing=True))

    assert (off, os.environ["LANGSMITH_TRACING"]) == ("false", "true")


def test_an_agent_needs_a_model_and_the_error_says_how_to_set_one() -> None:
    for attempt in (lambda: check_models(Settings()), lambda: built_agent(Settings()).__enter__()):
        with pytest.raises(SetupError) as error:
            attempt()
        assert error.value.hint == Hint("set_model")


def test_a_chat_model_of_the_callers_stands_in_for_the_one_that_the_settings_name() -> None:
    model = ScriptedModel(["```repl\nx\n```", "FINAL(yes)"])

    with built_agent(Settings(model="openai/gpt-5"), model=model) as agent:
        assert {"observe", "think", "act", "finalize"} <= agent.nodes.keys()
