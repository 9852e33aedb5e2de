"""Specialists: agents with a name, which code hands questions to with `rlm_query(..., agent="name")`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from rlm_graph.agents.checking import check_model_argument
from rlm_graph.budget import Budget
from rlm_graph.calls.specialist import Specialist
from rlm_graph.errors import InputError, SetupError
from rlm_graph.executors import create_executor
from rlm_graph.executors.base import Executor
from rlm_graph.models import chat_model, has_price, model_name
from rlm_graph.settings import ExecutorSettings, ModelSettings, Settings
from rlm_graph.tools import host_functions
from rlm_graph.tools.registry import open_tools

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class AgentSpec:
    """A specialist as a caller describes it. What is not set is as it is with the agent that asks."""

    model: str | BaseChatModel | None = None
    """Thinks for the specialist; what it asks in turn goes to the model of that depth."""
    description: str = ""
    """What it is good for: read by the models that choose whom to ask."""
    system_prompt: str | None = None
    """What it is told about its task, besides how to work in the REPL. Agents that it asks are not told."""
    tools: Sequence[BaseTool | Callable[..., Any]] | None = None
    """All that it may call: an empty list takes the caller's tools away."""
    memory: bool | None = None
    """False keeps the run's memory from it."""
    executor: str | ExecutorSettings | Executor | None = None
    budget: Budget | Mapping[str, Any] | None = None
    """The most that it is granted for one question; less where half of what the asking agent has left is less."""


def specialists(
    agents: Mapping[str, AgentSpec], *, models: Sequence[BaseChatModel], settings: ModelSettings
) -> dict[str, Specialist]:
    """Build the specialists, by name. `models` are those of the agent that has them.

    Raises `SetupError` for a name that code could not write, a part that cannot be used here, and a ceiling on cost
    that a model without a price would never meet.
    """
    built = {name: _built(name, spec, settings) for name, spec in agents.items()}
    asked = [*(one.model for one in built.values() if one.model), *models]  # they may ask one another
    for one in built.values():
        if one.budget is None or one.budget.max_cost_usd is None or one.budget.allow_unpriced:
            continue
        for model in asked:
            if not has_price(model):
                raise SetupError(
                    f"agent {one.name}: the price of {model_name(model)} is unknown, so its max_cost_usd cannot hold: "
                    "allow it with allow_unpriced, or drop the ceiling"
                )
    return built


@contextmanager
def specs_from(settings: Settings) -> Iterator[dict[str, AgentSpec]]:
    """Give the specialists of the settings, by name; the servers of their tools live as long.

    Raises `InputError` for a tool that is not there, `SetupError` for one that cannot be used.
    """
    specs: dict[str, AgentSpec] = {}
    with ExitStack() as stack:
        for name, agent in settings.agents.items():
            tools = None
            if agent.tools is not None:
                wanted = settings.tools.model_copy(update={"use": agent.tools})
                try:
                    tools = stack.enter_context(open_tools(wanted))
                except (InputError, SetupError) as error:
                    error.about(f"agent {name}")
                    raise
            given = {
                key: getattr(agent, key)
                for key in ("model", "description", "system_prompt", "memory", "executor", "budget")
            }
            specs[name] = AgentSpec(tools=tools, **given)
        yield specs


def _built(name: str, spec: AgentSpec, settings: ModelSettings) -> Specialist:
    if not _NAME.fullmatch(name):
        raise SetupError(f"agent {name!r}: a name has letters, digits, '_', '.' and '-', 64 at the most")
    if not isinstance(spec, AgentSpec):
        raise SetupError(f"agent {name}: give an AgentSpec, not {type(spec).__name__}")
    try:
        if spec.model is not None:
            check_model_argument("model", spec.model)
        return Specialist(
            name=name,
            description=spec.description,
            role=spec.system_prompt or None,
            model=None if spec.model is None else chat_model(spec.model, settings),
            tools=None if spec.tools is None else host_functions(spec.tools),
            memory=spec.memory is not False,
            executor=None if spec.executor is None else create_executor(spec.executor),
            budget=None if spec.budget is None else Budget.of(spec.budget, error=SetupError),
        )
    except SetupError as error:
        error.about(f"agent {name}")
        raise
