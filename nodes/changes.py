"""What a node writes: of the channels that hold one value, those alone whose value is another than before.

Each write is a row of the database and a part of the checkpoint after it, whatever it says.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rlm_graph.channels import GATHERING

Node = Callable[..., Awaitable[Mapping[str, Any]]]


def writing_changes(node: Node) -> Node:
    """Return the node without what it would write a second time."""

    @functools.wraps(node)
    async def changed(state: Mapping[str, Any], **given: Any) -> Mapping[str, Any]:
        update = await node(state, **given)
        return {
            channel: value
            for channel, value in update.items()
            if channel in GATHERING or channel not in state or state[channel] != value
        }

    return changed
