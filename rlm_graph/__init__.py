"""Recursive language models as durable LangGraph workflows.

Importing this loads nothing: each name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm_graph.agents.create import create_rlm_agent
    from rlm_graph.agents.specialists import AgentSpec
    from rlm_graph.budget import Budget, Caps, Usage
    from rlm_graph.context import ContextStore
    from rlm_graph.errors import (
        BudgetExceeded,
        ExecutorError,
        InputError,
        ModelError,
        RLMError,
        SetupError,
        StorageError,
    )
    from rlm_graph.settings import LocalSettings, MemorySettings, ModelSettings
    from rlm_graph.state import STORED_TYPES, Answer

_HOMES = {
    "AgentSpec": "rlm_graph.agents.specialists",
    "Answer": "rlm_graph.state",
    "Budget": "rlm_graph.budget",
    "BudgetExceeded": "rlm_graph.errors",
    "Caps": "rlm_graph.budget",
    "ContextStore": "rlm_graph.context",
    "ExecutorError": "rlm_graph.errors",
    "InputError": "rlm_graph.errors",
    "LocalSettings": "rlm_graph.settings",
    "MemorySettings": "rlm_graph.settings",
    "ModelError": "rlm_graph.errors",
    "ModelSettings": "rlm_graph.settings",
    "RLMError": "rlm_graph.errors",
    "STORED_TYPES": "rlm_graph.state",
    "SetupError": "rlm_graph.errors",
    "StorageError": "rlm_graph.errors",
    "Usage": "rlm_graph.budget",
    "create_rlm_agent": "rlm_graph.agents.create",
}

__all__ = [
    "STORED_TYPES",
    "AgentSpec",
    "Answer",
    "Budget",
    "BudgetExceeded",
    "Caps",
    "ContextStore",
    "ExecutorError",
    "InputError",
    "LocalSettings",
    "MemorySettings",
    "ModelError",
    "ModelSettings",
    "RLMError",
    "SetupError",
    "StorageError",
    "Usage",
    "create_rlm_agent",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
