"""The keywords that `create_rlm_agent` had before work for one more version, and say what they are called now."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, AgentSpec, Caps, ContextStore, ModelSettings, SetupError, create_rlm_agent
from rlm_graph.settings import SnapshotSettings
from rlm_graph.testing import ScriptedModel

CONFIG: Any = {"configurable": {"thread_id": "a run"}}
create: Any = create_rlm_agent
"""Without its types, which the old keywords are not among."""


def search(query: str) -> str:
    """Find a text."""
    return query


OLD: dict[str, tuple[Any, str]] = {
    "agents": ({"a": AgentSpec()}, "subagents=..."),
    "approve": ("code", "interrupt_on=..."),
    "settings": (ModelSettings(), "options=AgentOptions(models=...)"),
    "caps": (Caps(), "options=AgentOptions(caps=...)"),
    "contexts": (Path("contexts"), "options=AgentOptions(contexts=...)"),
    "snapshots": (SnapshotSettings(), "options=AgentOptions(snapshots=...)"),
    "strict_replay": (True, "options=AgentOptions(strict_replay=...)"),
    "protocol": ("tools", "options=AgentOptions(protocol=...)"),
    "retrieval": ("search", "options=AgentOptions(retrieval=...)"),
    "interrupt_before": (["act"], "options=AgentOptions(interrupt_before=...)"),
    "interrupt_after": (["act"], "options=AgentOptions(interrupt_after=...)"),
}


@pytest.mark.parametrize("old", OLD)
def test_an_old_name_works_and_warns_of_the_new_one_and_of_the_version_that_drops_it(old: str) -> None:
    value, new = OLD[old]

    with pytest.warns(DeprecationWarning, match="is now") as warned:
        create(ScriptedModel([]), tools=[search], checkpointer=InMemorySaver(), **{old: value})

    [warning] = warned
    assert str(warning.message) == f"create_rlm_agent({old}=...) is now {new}; rlm-graph 0.3 drops the old name"
    assert warning.filename == __file__


def test_what_is_given_by_old_names_is_what_holds(tmp_path: Path) -> None:
    model = ScriptedModel(["```repl\nFINAL(1)\n```"])
    with pytest.warns(DeprecationWarning, match="is now"):
        graph = create(
            model,
            agents={"coder": AgentSpec(description="writes code")},
            approve="code",
            contexts=ContextStore(tmp_path / "contexts"),
            caps=Caps(max_turns=7),
            settings=ModelSettings(profile="small"),
            checkpointer=InMemorySaver(),
        )

    paused = graph.invoke({"question": "Go.", "context": "text"}, CONFIG)

    assert paused["__interrupt__"][0].value["cells"] == ["FINAL(1)"]
    assert graph.get_state(CONFIG).values["budget"].max_turns == 7
    assert (tmp_path / "contexts").exists()
    assert "- `coder`: writes code" in model.calls[0][0].text
    assert "ONE code fence" in model.calls[0][0].text


def test_none_by_an_old_name_means_the_default_as_it_did() -> None:
    with pytest.warns(DeprecationWarning, match="is now"):
        create(ScriptedModel([]), caps=None, snapshots=None, settings=None, contexts=None, agents=None, approve=None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"agents": {}, "subagents": {}},
            "agents and subagents are both given: agents is the old name of subagents=...",
        ),
        ({"approve": "code", "interrupt_on": None}, "approve and interrupt_on are both given"),
        ({"caps": Caps(), "options": AgentOptions()}, r"is the old name of options=AgentOptions\(caps=...\)"),
    ],
)
def test_an_old_name_and_its_new_one_together_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        create(ScriptedModel([]), **given)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sub_modle", r"create_rlm_agent\(\) has no parameter 'sub_modle'; did you mean sub_model\?"),
        ("subagent", "did you mean subagents?"),
        ("models", r"give options=AgentOptions\(models=...\)"),
        ("zzz", "there are: budget, cache, checkpointer"),
    ],
)
def test_an_unknown_name_is_a_type_error_that_says_the_nearest(name: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        create(ScriptedModel([]), **{name: 1})


def test_the_signature_is_that_of_the_new_names() -> None:
    from langchain.agents import create_agent

    ours, theirs = (inspect.signature(each).parameters for each in (create_rlm_agent, create_agent))

    assert not ours.keys() & OLD.keys()
    assert [*ours][:3] == [*theirs][:3] == ["model", "tools", "system_prompt"]
    assert {"response_format", "checkpointer", "store", "cache", "name"} <= ours.keys() & theirs.keys()
