"""What a node writes."""

from __future__ import annotations

from typing import Any

from rlm_graph.channels import RLMState
from rlm_graph.nodes.changes import writing_changes
from rlm_graph.state import Cell


async def test_a_node_writes_what_is_new_and_what_is_added_up_and_nothing_else() -> None:
    async def node(state: Any, *, given: int) -> dict[str, Any]:
        return {"cells": [Cell(code="1")], "final": None, "ceiling": "max_turns", "dialogue": [], "usage": given}

    state = {"cells": [Cell(code="1")], "final": None, "ceiling": None, "dialogue": [], "usage": 3}
    assert await writing_changes(node)(state, given=3) == {"ceiling": "max_turns", "dialogue": [], "usage": 3}


async def test_what_a_state_does_not_have_yet_is_written_though_it_says_nothing() -> None:
    async def node(state: Any) -> dict[str, Any]:
        return {"final": None, "notes": []}

    assert await writing_changes(node)({}) == {"final": None, "notes": []}


def test_every_channel_with_a_reducer_is_known_as_one() -> None:
    from langgraph.channels.last_value import LastValue
    from langgraph.graph import StateGraph

    from rlm_graph.channels import GATHERING

    channels = StateGraph(RLMState).channels
    reduced = {name for name, channel in channels.items() if type(channel) is not LastValue}
    assert reduced - {"problem", "structured_response"} == GATHERING  # which hold one value in a form of their own
