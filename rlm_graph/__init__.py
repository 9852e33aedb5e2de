"""Recursive language models as durable LangGraph workflows.

What may be imported, and stays from version to version: the names of this package, and those of `rlm_graph.events`,
`rlm_graph.errors`, `rlm_graph.settings`, `rlm_graph.memory`, `rlm_graph.tools.mcp`, `rlm_graph.testing` (stand-ins for
tests), `rlm_graph.executors.base` and `rlm_graph.executors.conformance` (for an executor of your own). All other
modules are internal, whatever their names, and change without notice.

Importing this loads nothing: each name below is imported when it is first used.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm_graph.agents.create import create_rlm_agent as create_rlm_agent
    from rlm_graph.agents.graph import RLMGraph as RLMGraph
    from rlm_graph.agents.options import AgentOptions as AgentOptions
    from rlm_graph.agents.specialists import AgentSpec as AgentSpec
    from rlm_graph.approval import ApprovalRequest as ApprovalRequest
    from rlm_graph.approval import Decision as Decision
    from rlm_graph.approval import InterruptOn as InterruptOn
    from rlm_graph.budget import Budget as Budget
    from rlm_graph.budget import Caps as Caps
    from rlm_graph.budget import Usage as Usage
    from rlm_graph.channels import RLMInput as RLMInput
    from rlm_graph.channels import RLMOutput as RLMOutput
    from rlm_graph.context import URL as URL
    from rlm_graph.context import ContextStore as ContextStore
    from rlm_graph.errors import BudgetExceeded as BudgetExceeded
    from rlm_graph.errors import ExecutorError as ExecutorError
    from rlm_graph.errors import Hint as Hint
    from rlm_graph.errors import InputError as InputError
    from rlm_graph.errors import ModelError as ModelError
    from rlm_graph.errors import ReplLostError as ReplLostError
    from rlm_graph.errors import RLMError as RLMError
    from rlm_graph.errors import RunHeldError as RunHeldError
    from rlm_graph.errors import RunNotFoundError as RunNotFoundError
    from rlm_graph.errors import SetupError as SetupError
    from rlm_graph.errors import StorageError as StorageError
    from rlm_graph.events import AnswerEvent as AnswerEvent
    from rlm_graph.events import BudgetEvent as BudgetEvent
    from rlm_graph.events import CallEvent as CallEvent
    from rlm_graph.events import CellEvent as CellEvent
    from rlm_graph.events import Event as Event
    from rlm_graph.events import OutputEvent as OutputEvent
    from rlm_graph.events import SubcallEvent as SubcallEvent
    from rlm_graph.events import TurnEvent as TurnEvent
    from rlm_graph.executors.base import Executor as Executor
    from rlm_graph.models import chat_model as chat_model
    from rlm_graph.settings import ContextSettings as ContextSettings
    from rlm_graph.settings import DockerSettings as DockerSettings
    from rlm_graph.settings import E2BSettings as E2BSettings
    from rlm_graph.settings import ExecutorSettings as ExecutorSettings
    from rlm_graph.settings import LocalSettings as LocalSettings
    from rlm_graph.settings import MCPSettings as MCPSettings
    from rlm_graph.settings import MemorySettings as MemorySettings
    from rlm_graph.settings import ModelPrice as ModelPrice
    from rlm_graph.settings import ModelSettings as ModelSettings
    from rlm_graph.settings import PluginExecutorSettings as PluginExecutorSettings
    from rlm_graph.settings import PoolSettings as PoolSettings
    from rlm_graph.settings import PyodideSettings as PyodideSettings
    from rlm_graph.settings import Settings as Settings
    from rlm_graph.settings import SnapshotSettings as SnapshotSettings
    from rlm_graph.state import STORED_TYPES as STORED_TYPES
    from rlm_graph.state import Answer as Answer
    from rlm_graph.state import ContextRef as ContextRef
    from rlm_graph.tools.mcp import MCPServers as MCPServers

_NAMES = {
    "rlm_graph.agents.create": ("create_rlm_agent",),
    "rlm_graph.agents.graph": ("RLMGraph",),
    "rlm_graph.agents.options": ("AgentOptions",),
    "rlm_graph.agents.specialists": ("AgentSpec",),
    "rlm_graph.approval": ("ApprovalRequest", "Decision", "InterruptOn"),
    "rlm_graph.budget": ("Budget", "Caps", "Usage"),
    "rlm_graph.context": ("ContextStore", "URL"),
    "rlm_graph.errors": (
        "BudgetExceeded", "ExecutorError", "Hint", "InputError", "ModelError", "RLMError", "ReplLostError",
        "RunHeldError", "RunNotFoundError", "SetupError", "StorageError",
    ),
    "rlm_graph.events": (
        "AnswerEvent", "BudgetEvent", "CallEvent", "CellEvent", "Event", "OutputEvent", "SubcallEvent", "TurnEvent",
    ),
    "rlm_graph.executors.base": ("Executor",),
    "rlm_graph.models": ("chat_model",),
    "rlm_graph.settings": (
        "ContextSettings", "DockerSettings", "E2BSettings", "ExecutorSettings", "LocalSettings", "MCPSettings",
        "MemorySettings", "ModelPrice", "ModelSettings", "PluginExecutorSettings", "PoolSettings", "PyodideSettings",
        "Settings", "SnapshotSettings",
    ),
    "rlm_graph.channels": ("RLMInput", "RLMOutput"),
    "rlm_graph.state": ("Answer", "ContextRef", "STORED_TYPES"),
    "rlm_graph.tools.mcp": ("MCPServers",),
}  # fmt: skip
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # the names are in the table alone


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _uncollected():
        return getattr(import_module(_HOMES[name]), name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have Python look for no garbage while it imports: it finds none, and looks hundreds of times."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def __dir__() -> list[str]:
    return __all__
