"""What tells one call of a cell from all others, in every process that runs the cell."""

from __future__ import annotations

import hashlib

from rlm_graph import bridge
from rlm_graph.executors.base import HostCall
from rlm_graph.json_pieces import LARGE, json_pieces, weight


async def key_of(cell: int, call: HostCall) -> str:
    """Return the name of a call that may be a large one."""
    return await bridge.in_thread(key, cell, call) if weight(call.arguments) >= LARGE else key(cell, call)


def key(cell: int, call: HostCall) -> str:
    """Name a call by its content, its cell, and how many equal calls that cell made before.

    A text that the call names instead of holding it counts as what it is named by; see `call_key` of the supervisor.
    """
    arguments = call.arguments if call.plain is None else call.plain
    digest = hashlib.sha256()
    for piece in json_pieces([cell, call.function, arguments, call.nth, *call.named], sort_keys=True):
        digest.update(piece.encode())
    return digest.hexdigest()[:24]
