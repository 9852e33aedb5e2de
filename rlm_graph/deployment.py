"""The agent for LangGraph's server, which `langgraph.json` points here: chosen by settings alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rlm_graph.runs.building import built_agent
from rlm_graph.settings import Settings

if TYPE_CHECKING:
    from rlm_graph.agents.graph import RLMGraph


def agent() -> RLMGraph:
    """Build the agent that `RLM_*` variables and settings files describe.

    It has no checkpointer and no store: the server brings its own. Raises `SetupError` if no model is set, or if what
    is set cannot be used here.
    """
    # Never left: the server builds the agent once, and its tools live as long as it does.
    return ExitStack().enter_context(built_agent(Settings.load(), nested=True))
