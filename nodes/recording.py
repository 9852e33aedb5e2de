"""How much of what a node did must be on disk before the run goes on."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langgraph.config import get_config

from rlm_graph.storage.step_records import StepRecord, expect

Node = Callable[..., Awaitable[Mapping[str, Any]]]


def recorded(node: Node, record: StepRecord) -> Node:
    """Return the node, the only task of its step, whose writes the saver may keep as `record` says.

    What leads to the end of the run is kept `whole`: `finalize` closes the REPL, and nothing before it could be taken
    again at no cost.
    """

    @functools.wraps(node)
    async def run(state: Any, **given: Any) -> Mapping[str, Any]:
        update = await node(state, **given)
        ends = update.get("final") is not None or update.get("ceiling") is not None
        expect(get_config(), "whole" if ends else record)
        return update

    return run
