"""The agent for LangGraph's server, which `langgraph.json` points here: chosen by settings alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rlm_graph.errors import Hint, SetupError
from rlm_graph.settings import Settings

if TYPE_CHECKING:
    from rlm_graph.agents.graph import RLMGraph


def agent() -> RLMGraph:
    """Build the agent that `RLM_*` variables and settings files describe.

    It has no checkpointer and no store: the server brings its own. Raises `SetupError` if no model is set, or if what
    is set cannot be used here.
    """
    from rlm_graph.agents.create import create_rlm_agent
    from rlm_graph.agents.options import AgentOptions
    from rlm_graph.agents.specialists import specs_from
    from rlm_graph.context.encrypted import contexts_of
    from rlm_graph.models import cache_of
    from rlm_graph.tools.registry import open_tools

    settings = Settings.load()
    if settings.model is None:
        raise SetupError("no model is set", hint=Hint("set_model"))
    # Never left: the server builds the agent once, and its tools live as long as it does.
    stack = ExitStack()
    tools, agents = stack.enter_context(open_tools(settings.tools)), stack.enter_context(specs_from(settings))
    return create_rlm_agent(
        settings.model,
        sub_model=settings.sub_model,
        executor=settings.executor,
        budget=settings.budget,
        tools=tools,
        subagents=agents,
        memory=settings.memory if settings.memory.enabled else None,
        cache=cache_of(settings),
        options=AgentOptions(
            models=settings.models,
            caps=settings.caps,
            contexts=contexts_of(settings),
            snapshots=settings.snapshots,
            protocol=settings.protocol,
            retrieval=settings.tools.retrieval,
        ),
    )
