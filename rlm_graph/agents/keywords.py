"""Keywords of `create_rlm_agent`: those it had before, for one more version, and a word on those it never had."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from rlm_graph.agents.options import AgentOptions
from rlm_graph.errors import SetupError, nearest

DROPPED_IN = "0.3"
"""The version of rlm-graph that no longer knows the old names."""

_RENAMED = {"agents": "subagents", "approve": "interrupt_on"}
_MOVED = {
    "caps": "caps",
    "contexts": "contexts",
    "interrupt_after": "interrupt_after",
    "interrupt_before": "interrupt_before",
    "protocol": "protocol",
    "retrieval": "retrieval",
    "settings": "models",
    "snapshots": "snapshots",
    "strict_replay": "strict_replay",
}
"""Old keywords, and the fields of `AgentOptions` that they have become."""

F = TypeVar("F", bound=Callable[..., Any])


def with_old_names(create: F) -> F:
    """Let `create` be called by its old keywords too, with a `DeprecationWarning` for each.

    Raises `SetupError` where an old keyword and its new one are both given, `TypeError` for an unknown one.
    """
    known = inspect.signature(create).parameters

    @functools.wraps(create)
    def called(*args: Any, **given: Any) -> Any:
        for name in given.keys() - known.keys() - _RENAMED.keys() - _MOVED.keys():
            words = (
                f": give options=AgentOptions({name}=...)"
                if name in AgentOptions.model_fields
                else nearest(name, known)
            )
            raise TypeError(f"{create.__name__}() has no parameter {name!r}{words}")
        for old, new in {**_RENAMED, **dict.fromkeys(_MOVED, "options")}.items():
            if old in given and new in given:
                raise SetupError(f"{old} and {new} are both given: {old} is the old name of {_new_name(old)}; drop it")
            if old in given:
                warnings.warn(
                    f"{create.__name__}({old}=...) is now {_new_name(old)}; rlm-graph {DROPPED_IN} drops the old name",
                    DeprecationWarning,
                    stacklevel=2,
                )
        return create(*args, **_renewed(given))

    return cast(F, called)


def _renewed(given: dict[str, Any]) -> dict[str, Any]:
    """Put what was given by old keywords where it belongs now. None meant the default."""
    renewed = {_RENAMED.get(name, name): value for name, value in given.items() if name not in _MOVED}
    moved = {_MOVED[name]: value for name, value in given.items() if name in _MOVED and value is not None}
    return {**renewed, "options": AgentOptions(**moved)} if moved else renewed


def _new_name(old: str) -> str:
    return f"{_RENAMED[old]}=..." if old in _RENAMED else f"options=AgentOptions({_MOVED[old]}=...)"
