"""What code may ask for of a child: a model that thinks for it, and ceilings below those that it would be granted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from pydantic import Field

from rlm_graph import AgentOptions, AgentSpec, Budget, ContextStore, RLMGraph, create_rlm_agent
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]

pytestmark = pytest.mark.confinement

PRICED = {"price": {"input_usd": 1.0, "output_usd": 1.0}}


def caught(call: str) -> str:
    """Code that ends with the words of the exception that `call` raises, or with what it returns."""
    return repl(
        f"try:\n    FINAL({call})\nexcept Exception as error:\n    FINAL(type(error).__name__ + ': ' + str(error))"
    )


def restless(messages: Sequence[BaseMessage]) -> str:
    """Work on and on: only a ceiling ends it."""
    return repl("print(1)")


# Budgets


@pytest.mark.parametrize(
    ("own", "requested", "turns"),
    [(None, {"max_turns": 2}, 2), (5, {"max_turns": 2}, 2), (2, {"max_turns": 5}, 2), (3, {"max_tokens": 10**6}, 3)],
)
async def test_a_child_gets_the_least_of_what_its_specialist_has_and_what_code_asks_for(
    agent: Build, own: int | None, requested: dict[str, int], turns: int
) -> None:
    model = ScriptedModel(restless)
    spec = AgentSpec(model=model, budget=None if own is None else Budget(max_turns=own))
    code = repl(f"FINAL(rlm_query('q', agent='a', budget={requested}))")

    await agent([code], subagents={"a": spec}, budget=Budget(max_turns=50)).ainvoke({"question": "Go."})

    assert len(model.calls) == turns + 1  # the last one asks for the best answer so far


async def test_a_ceiling_that_a_specialist_leaves_at_its_default_does_not_lift_what_code_asks_for(agent: Build) -> None:
    model = ScriptedModel(restless)
    spec = AgentSpec(model=model, budget=Budget(max_tokens=10**6))  # whose max_turns is 10, but by default
    code = repl("FINAL(rlm_query('q', agent='a', budget={'max_turns': 12}))")

    await agent([code], subagents={"a": spec}, budget=Budget(max_turns=50)).ainvoke({"question": "Go."})

    assert len(model.calls) == 13


async def test_code_gets_no_more_than_half_of_what_is_left_however_much_it_asks_for(agent: Build) -> None:
    def spend(messages: Sequence[BaseMessage]) -> str:
        return repl("for i in range(100): llm_query('x' * 400)") if messages[0].type == "system" else "y" * 400

    code = repl("rlm_query('spend', budget={'max_tokens': 10 ** 9, 'max_turns': 10 ** 6})\nFINAL('done')")

    result = await agent([code], sub=spend, budget=Budget(max_tokens=40_000)).ainvoke({"question": "Go."})

    assert result["answer"].value == "done"
    assert 10_000 < result["usage"].tokens < 24_000


async def test_a_batch_bounds_each_of_its_children(agent: Build) -> None:
    sub = ScriptedModel(restless)
    root = ScriptedModel([repl("rlm_query_batched(['a', 'b', 'c'], budget={'max_turns': 1})\nFINAL('done')")])
    graph = agent(root, sub=lambda messages: sub._answer(list(messages)), budget=Budget(max_turns=50))

    await graph.ainvoke({"question": "Go."})

    assert len(sub.calls) == 3 * 2


async def test_a_child_that_may_not_recurse_is_not_offered_to(agent: Build) -> None:
    child = ScriptedModel([repl("FINAL(rlm_query('deeper'))")])
    answers = [lambda messages: child._answer(list(messages)), lambda messages: messages[0].type]
    code = repl("FINAL(rlm_query('q', budget={'max_depth': 0}))")

    result = await agent([code], sub=lambda messages: answers[len(child.calls) > 0](messages)).ainvoke(
        {"question": "Go."}
    )

    assert result["answer"].value == "human"  # a plain call: no agent's system prompt came before it
    assert "`rlm_query(" not in child.calls[0][0].text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            "rlm_query('q', budget={'max_turn': 3})",
            "TypeError: rlm_query: budget: there is no field 'max_turn'; did you",
        ),
        ("rlm_query('q', budget={'max_turns': 0})", "TypeError: rlm_query: budget.max_turns: Input should be greater"),
        ("rlm_query('q', budget=0.1)", "TypeError: rlm_query: budget: give a Budget, or a dict of its fields such as"),
        ("rlm_query_batched(['q'], budget=['max_turns'])", "TypeError: rlm_query_batched: budget: give a Budget"),
        ("llm_query('p', budget={'max_turns': 3})", "TypeError: "),
    ],
)
@pytest.mark.parametrize("max_depth", [4, 0])
async def test_a_budget_that_is_none_is_a_type_error_in_the_code(
    agent: Build, call: str, words: str, max_depth: int
) -> None:
    result = await agent([caught(call)], budget=Budget(max_depth=max_depth)).ainvoke({"question": "Go."})

    assert result["answer"].value.startswith(words)
    assert result["usage"].subcalls == 0


async def test_a_ceiling_on_cost_that_could_not_hold_is_a_value_error_in_the_code(agent: Build) -> None:
    model = ScriptedModel([repl("FINAL('asked')")])
    call = "rlm_query('q', budget={'max_cost_usd': 0.1%s})"

    refused = await agent([caught(call % "")], sub=["no"]).ainvoke({"question": "Go."})
    allowed = await agent(
        [caught(call % ", 'allow_unpriced': True")], sub=lambda messages: model._answer(list(messages))
    ).ainvoke({"question": "Go."})

    assert refused["answer"].value.startswith("ValueError: the price of scripted-sub is unknown, so")
    assert allowed["answer"].value == "asked"


async def test_code_cannot_allow_what_the_run_does_not(contexts: ContextStore) -> None:
    root = ScriptedModel(
        [caught("rlm_query('q', budget={'max_cost_usd': 0.5, 'allow_unpriced': True})")], metadata=PRICED
    )
    sub = ScriptedModel(restless, model="sub", metadata=PRICED)
    graph = create_rlm_agent(
        root, sub_model=sub, budget={"max_cost_usd": 0.01}, options=AgentOptions(contexts=contexts)
    )

    result = await graph.ainvoke({"question": "Go."})

    assert result["usage"].cost_usd <= 0.02
    assert result["answer"].complete


# Models


def family(contexts: ContextStore, code: str, *, depth: int = 4) -> tuple[RLMGraph, dict[str, ScriptedModel]]:
    """An agent whose models answer with their names, and with what the model of the next depth says."""

    def says(name: str) -> Callable[[Sequence[BaseMessage]], str]:
        deeper = "llm_query('p')" if name != "bottom" else "'-'"
        return lambda messages: repl(f"FINAL('{name} ' + {deeper})") if "## How to" in messages[0].text else name

    models = {name: ScriptedModel(says(name), model=name) for name in ("middle", "bottom", "coder")}
    models["top"] = ScriptedModel(lambda m: repl(code) if "Go." in m[-1].text else says("top")(m), model="top")
    graph = create_rlm_agent(
        models["top"],
        sub_model=[models["middle"], models["bottom"]],
        subagents={"a": AgentSpec(model=models["coder"], system_prompt="You code."), "b": AgentSpec()},
        budget=Budget(max_depth=depth),
        options=AgentOptions(contexts=contexts),
    )
    return graph, models


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("rlm_query('q')", "middle bottom"),
        ("rlm_query('q', model='top')", "top bottom"),
        ("rlm_query('q', model='bottom')", "bottom -"),
        ("rlm_query('q', model='coder')", "coder bottom"),
        ("rlm_query('q', agent='a')", "coder bottom"),
        ("rlm_query('q', agent='a', model='top')", "top bottom"),
        ("rlm_query('q', agent='b', model='top')", "top bottom"),
        ("' / '.join(rlm_query_batched(['q', 'q'], agent=['a', None], model='top'))", "top bottom / top bottom"),
        ("llm_query('p', model='coder')", "coder"),
    ],
)
async def test_the_model_that_code_names_thinks_at_the_childs_depth(
    contexts: ContextStore, call: str, expected: str
) -> None:
    graph, _ = family(contexts, f"FINAL({call})")

    result = await graph.ainvoke({"question": "Go."})

    assert result["answer"].value == expected


async def test_a_specialist_that_thinks_with_another_model_keeps_its_task(contexts: ContextStore) -> None:
    graph, models = family(contexts, "FINAL(rlm_query('q', agent='a', model='middle'))")

    await graph.ainvoke({"question": "Go."})

    assert "## Your part\n\nYou code." in models["middle"].calls[0][0].text
    assert not models["coder"].calls


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("rlm_query('q')", "middle"),
        ("rlm_query('q', model='top')", "top"),
        ("rlm_query('q', agent='a', model='bottom')", "bottom"),
        ("rlm_query('q', agent='a')", "coder"),
    ],
)
async def test_at_the_last_depth_the_model_that_code_names_replies(
    contexts: ContextStore, call: str, expected: str
) -> None:
    graph, _ = family(contexts, f"FINAL({call})", depth=0)

    assert (await graph.ainvoke({"question": "Go."}))["answer"].value.split()[0] == expected


@pytest.mark.parametrize("call", ["rlm_query('q', model='m')", "rlm_query_batched(['q'], model='m')[0]"])
@pytest.mark.parametrize("depth", [4, 0])
async def test_a_model_that_there_is_not_is_a_value_error_that_lists_them(
    contexts: ContextStore, call: str, depth: int
) -> None:
    code = f"try:\n    {call}\nexcept Exception as error:\n    FINAL(str(error) + type(error).__name__)"
    graph, _ = family(contexts, code, depth=depth)

    words = (await graph.ainvoke({"question": "Go."}))["answer"].value

    assert "no model 'm' here; there are: coder, top, middle, bottom" in words
    assert words.endswith("SubcallError" if "batched" in call else "ValueError")


# At the last depth


class Bounded(ScriptedModel):
    """Notes the options of its last request; asked to wait, it never replies."""

    given: dict[str, Any] = Field(default_factory=dict)

    async def _agenerate(self, *args: Any, **options: Any) -> ChatResult:
        self.given.update(options)
        if "wait" in args[0][-1].text:
            await asyncio.Event().wait()  # nobody sets it
        return await super()._agenerate(*args, **options)


@pytest.mark.parametrize(("own", "requested", "least"), [(50, 77, 50), (77, 50, 50), (None, 50, 50)])
async def test_at_the_last_depth_the_least_of_the_ceilings_bounds_the_one_reply(
    agent: Build, own: int | None, requested: int, least: int
) -> None:
    model = Bounded(["plain"])
    spec = AgentSpec(model=model, budget=None if own is None else Budget(max_tokens=own))
    code = repl(f"FINAL(rlm_query('q', agent='a', budget={{'max_tokens': {requested}, 'max_turns': 1}}))")

    result = await agent([code], subagents={"a": spec}, budget=Budget(max_depth=0)).ainvoke({"question": "Go."})

    assert result["answer"].value == "plain"
    assert model.given["max_tokens"] == least


async def test_at_the_last_depth_the_time_that_code_allows_ends_a_reply(agent: Build) -> None:
    spec = AgentSpec(model=Bounded(["never"]))
    code = caught("rlm_query('wait', agent='a', budget={'timeout_s': 0.2})")

    result = await agent([code], subagents={"a": spec}, budget=Budget(max_depth=0)).ainvoke({"question": "Go."})

    assert result["answer"].value.startswith("BudgetExceeded: timeout_s reached: spent 0.2 of 0.2")
