"""What the tests of the workflows share: agents with a scripted model, and a context store of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlm_graph import AgentOptions, ContextStore, create_rlm_agent
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.testing import ScriptedModel

BuildAgent = Callable[..., RLMGraph]


def repl(code: str) -> str:
    """Write code as a model writes it."""
    return f"```repl\n{code}\n```"


@pytest.fixture
def contexts(tmp_path: Path) -> ContextStore:
    return ContextStore(tmp_path / "contexts")


@pytest.fixture
def agent(contexts: ContextStore) -> BuildAgent:
    """Builds an agent of scripted replies (the root's, and `sub` for sub-calls)."""

    def build(
        replies: Sequence[Any] | Callable[..., Any],
        *,
        sub: Any = None,
        options: AgentOptions = AgentOptions(),
        **parts: Any,
    ) -> RLMGraph:
        root = replies if isinstance(replies, ScriptedModel) else ScriptedModel(replies)
        sub_model = None if sub is None else ScriptedModel(sub, model="scripted-sub")
        here = options.model_copy(update={"contexts": contexts})
        return create_rlm_agent(root, sub_model=sub_model, options=here, **parts)

    return build
