"""Where to go next: each router is a list of edges and decides by the state alone."""

from __future__ import annotations

from typing import Literal

from rlm_graph.channels import RLMState

MAX_CORRECTIONS = 3
"""Replies in a row with neither code nor an answer, after which the run ends with what it has."""


def route_after_think(state: RLMState) -> Literal["act", "observe", "think", "finalize"]:
    """Run the code and make the tool calls of the reply; if it has neither, settle the answer that it gave.

    A reply without code, calls and answer goes back to the model with a correction. After `MAX_CORRECTIONS` such
    replies in a row, or at a ceiling, the run is finalized. A request that failed though it had cost something is made
    again.
    """
    if _has_work(state):
        return "act"
    if state["final"] is not None or state["ceiling"] is not None or state["corrections"] >= MAX_CORRECTIONS:
        return "finalize"
    return "think" if state.get("failures") else "observe"


def route_after_approve(state: RLMState) -> Literal["act", "observe"]:
    """Run what was approved; tell the model what was not."""
    return "act" if _has_work(state) else "observe"


def route_after_act(state: RLMState) -> Literal["observe", "finalize"]:
    """Go round again unless there is an answer or no budget for another turn."""
    if state["final"] is not None or state["ceiling"] is not None:
        return "finalize"
    return "observe"


def route_after_finalize(state: RLMState) -> Literal["observe", "__end__"]:
    """End, or go back once more when the answer was not of the form that was asked for."""
    return "__end__" if state["answer"] is not None else "observe"


def _has_work(state: RLMState) -> bool:
    return bool(state["cells"] or state.get("native"))
