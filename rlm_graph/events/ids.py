"""The ids under which events are told: of the call in which something happened, by its checkpoint namespace."""

from __future__ import annotations

import hashlib

from rlm_graph.langgraph_internals import joined, namespace_parts, node_of


def call_of(namespace: str) -> tuple[str, str | None]:
    """Return the ids of the call, and of the one that made it, to which a node's checkpoint namespace belongs.

    For the tokens of LangGraph's stream mode `messages` too: `rlm_graph.langgraph_internals.namespace_of_message`.
    """
    path = namespace_parts(namespace)
    *above, last = path
    if node_of(last) in ("ask", "call"):
        return id_of(path), id_of(above[:-2])
    return id_of(above), _parent(above)


def id_of(path: list[str]) -> str:
    """Return the id of the call that lies there."""
    return hashlib.sha256(joined(*path).encode()).hexdigest()[:16]


def _parent(agent: list[str]) -> str | None:
    """An agent that a call asked lies below the parent's act, the call's own name and the node that recursed."""
    return id_of(agent[:-3]) if agent and node_of(agent[-1]) == "recurse" else None
