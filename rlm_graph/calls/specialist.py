"""A specialist that code can ask by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from rlm_graph.budget import Budget
from rlm_graph.executors.base import Executor
from rlm_graph.tools import HostFunction


@dataclass(frozen=True)
class Specialist:
    """A specialist that can be asked: its parts are built, and None where they are inherited."""

    name: str
    description: str
    role: str | None
    """What it is told about its task."""
    model: BaseChatModel | None
    tools: Mapping[str, HostFunction] | None
    memory: bool
    executor: Executor | None
    budget: Budget | None
