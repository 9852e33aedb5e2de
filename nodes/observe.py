"""Observe: write what the model will see next."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.types import Overwrite

from rlm_graph.budget import Budget, Caps, Usage
from rlm_graph.channels import RLMState, RLMUpdate
from rlm_graph.errors import Hint, InputError, SetupError
from rlm_graph.models import has_price, model_name, unreadable
from rlm_graph.nodes.history import alternating
from rlm_graph.nodes.questions import NONE, mark_of, new_question
from rlm_graph.prompts import correction, native_correction, observation, question_prompt, tool_messages


async def observe(
    state: RLMState,
    *,
    models: Sequence[BaseChatModel],
    budget: Budget,
    caps: Caps,
    window_tokens: int,
    native: bool = False,
) -> RLMUpdate:
    """Put the next observation into the dialogue: a new question, a turn's outcome, or a correction.

    Raises `InputError` if there is no question, `SetupError` if a ceiling is over its cap, or one
    on cost was set and a model has no price.
    """
    new = new_question(state)
    if new is not None:
        return _begin(state, *new, models, budget, caps)
    problem = state.get("problem")
    if problem is not None:
        words = native_correction(problem) if native else correction(problem)
        return {"dialogue": _reply_to(state["dialogue"], words), "problem": None}
    if not state.get("turns"):
        raise InputError(NONE)
    # In a window of so many tokens that leaves three quarters for all else.
    max_chars = min(state["budget"].max_output_chars, state.get("window") or window_tokens)
    return {"dialogue": _observed(state, max_chars)}


def _observed(state: RLMState, max_chars: int) -> list[AnyMessage]:
    """Tell what the last turn came to: to each tool call what it returned, or all of it in one message."""
    turn, budget, usage = state["turns"][-1], state["budget"], state["usage"]
    if not turn.answers:
        text = observation(turn, budget=budget, usage=usage, max_chars=max_chars)
        return _reply_to(state["dialogue"], text)
    return [
        ToolMessage(text, tool_call_id=id, status="error" if failed else "success")
        for id, text, failed in tool_messages(turn, budget=budget, usage=usage, max_chars=max_chars)
    ]


def _begin(
    state: RLMState,
    earlier: Sequence[AnyMessage],
    question: HumanMessage,
    models: Sequence[BaseChatModel],
    budget: Budget,
    caps: Caps,
) -> RLMUpdate:
    """Start on a new question: what the run spends from here on is counted anew, the REPL and the dialogue stay."""
    asked = caps.applied(state.get("budget", budget))
    _check_prices(asked, models)
    prompt = question_prompt(question.text, state.get("contexts", []), budget=asked)
    problem = unreadable(models[0], [question])
    if problem is not None:
        raise InputError(f"{problem}: ask a model that does, or leave it out of the question")
    content = prompt if isinstance(question.content, str) else [{"type": "text", "text": prompt}, *_media(question)]
    dialogue = state.get("dialogue", [])
    asked_now = HumanMessage(content, id=question.id)
    return {
        "dialogue": alternating([*settled(state), *earlier, asked_now], after=dialogue[-1] if dialogue else None),
        "seen": len(state["messages"]),
        "asked": mark_of(question),
        "told": str(state["messages"][-1].id),
        "cells": [],
        "native": [],
        "notes": [],
        "final": None,
        "problem": None,
        "corrections": 0,
        "misfits": 0,
        "budget": asked,
        "usage": Overwrite(Usage()),
        "earlier_subcalls": state.get("earlier_subcalls", 0) + state.get("usage", Usage()).subcalls,
        "ceiling": None,
        "answer": None,
        **({"structured_response": None} if "structured_response" in state else {}),
    }


def settled(state: RLMState) -> list[AnyMessage]:
    """Return the messages that answer the model's last reply; none if that reply has been answered.

    A new question finds an unanswered reply in two cases: the run was forked between the reply and the outcome of its
    code, or the reply gave the final answer by calling a tool. Providers refuse a dialogue in which a tool call has no
    answer.
    """
    dialogue, turns = state.get("dialogue", []), state.get("turns", [])
    last = dialogue[-1] if dialogue else None
    if not isinstance(last, AIMessage) or (state.get("answer") is not None and not last.tool_calls):
        return []
    if state.get("answer") is not None:
        return _reply_to(dialogue, "The answer was given.")
    if state.get("cells") or state.get("native") or not turns:
        return _reply_to(dialogue, "This was not run: there is another question.")
    return _observed(state, state["budget"].max_output_chars)


def _media(question: HumanMessage) -> list[str | dict[str, object]]:
    return [block for block in question.content if isinstance(block, dict) and block.get("type") != "text"]


def _check_prices(budget: Budget, models: Sequence[BaseChatModel]) -> None:
    if budget.allow_unpriced or budget.max_cost_usd is None:
        return
    for model in models:
        if not has_price(model):
            raise SetupError(
                f"the price of {model_name(model)} is unknown, so max_cost_usd cannot hold",
                hint=[Hint("allow_unpriced"), Hint("drop_ceiling", "max_cost_usd")],
            )


def _reply_to(dialogue: Sequence[AnyMessage], text: str) -> list[AnyMessage]:
    """Address the observation as the provider demands: to each tool call, if the model called tools."""
    last = dialogue[-1]
    if not isinstance(last, AIMessage) or not last.tool_calls:
        return [HumanMessage(text)]
    first, *others = [call["id"] or "" for call in last.tool_calls]
    return [ToolMessage(text, tool_call_id=first), *(ToolMessage("See above.", tool_call_id=id) for id in others)]
