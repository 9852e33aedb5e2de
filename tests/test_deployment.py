"""What LangGraph's server is given."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph.deployment import agent
from rlm_graph.errors import InputError, SetupError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of one run: a model, and a data folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RLM_MODEL", "openai/gpt-5")
    monkeypatch.setenv("OPENAI_API_KEY", "scripted")


def test_the_deployment_file_names_the_agent() -> None:
    [target] = json.loads((ROOT / "langgraph.json").read_text())["graphs"].values()
    module, name = target.split(":")

    assert getattr(importlib.import_module(module), name) is agent


def test_the_agent_takes_the_checkpointer_that_a_server_brings() -> None:
    saver = InMemorySaver()

    served = agent().copy(update={"checkpointer": saver})

    assert served.checkpointer is saver
    assert {"observe", "think", "act", "finalize"} <= served.nodes.keys()


def test_without_a_model_the_error_says_how_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLM_MODEL")

    with pytest.raises(SetupError, match="RLM_MODEL"):
        agent()


def test_no_client_has_anything_fetched_unless_the_settings_allow_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    given = {"path": str(tmp_path / "secret.txt")}

    served = agent().contexts
    assert served.load(served.take((tmp_path / "secret.txt").as_uri())) == (tmp_path / "secret.txt").as_uri()
    for named in (given, {"url": "https://example.org/"}):
        with pytest.raises(InputError, match="names what this agent does not read"):
            served.take(named)

    monkeypatch.setenv("RLM_CONTEXTS__SOURCES", '["path"]')
    allowing = agent().contexts
    assert allowing.load(allowing.take(given)) == "the secret"
