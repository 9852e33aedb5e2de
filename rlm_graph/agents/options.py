"""Options of an agent that most callers leave as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, ValidationError

from rlm_graph.budget import Caps
from rlm_graph.context import ContextStore
from rlm_graph.errors import SetupError, nearest
from rlm_graph.settings import ModelSettings, Protocol, SnapshotSettings
from rlm_graph.value import Value


class AgentOptions(Value):
    """What else can be chosen of an agent: `create_rlm_agent(..., options=AgentOptions(protocol="tools"))`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    models: ModelSettings = ModelSettings()
    """How models are reached: address, retries, prices, pools."""
    caps: Caps = Caps()
    """The most that any run may be given, whatever budget it is asked with."""
    contexts: ContextStore | Path | None = None
    """Where long inputs are kept: a store, or its folder; by default `contexts` in the user's data folder."""
    snapshots: SnapshotSettings = SnapshotSettings()
    """When a REPL is copied, beside the contexts, so that a resumed run comes back faster."""
    strict_replay: bool = False
    """Fail a run whose code behaves differently when its REPL is rebuilt, instead of telling the model."""
    protocol: Protocol = "repl"
    """`"repl"` for models that write code in their replies, `"tools"` for those that call tools: `python`,
    `final_answer`, `rlm_sub_complete`, `rlm_batch_complete`, and the run's own."""
    retrieval: str | None = None
    """The tool that answers the `context_query` of a call; by default `search`, if the run has it."""
    interrupt_before: Sequence[str] = ()
    """Nodes before which every run pauses; go on with `invoke(None, config)`."""
    interrupt_after: Sequence[str] = ()
    """Nodes after which every run pauses."""
    nested: bool = False
    """The agent is a node of a larger graph, or runs in a server, which brings the checkpointer and the store that
    approval and memory need."""

    if not TYPE_CHECKING:  # users' type checkers see the fields

        def __init__(self, **given: Any) -> None:
            try:
                super().__init__(**given)
            except ValidationError as failed:
                raise _refusal(failed) from None


def _refusal(failed: ValidationError) -> SetupError:
    first = failed.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if name not in AgentOptions.model_fields:
        return SetupError(f"AgentOptions has no field {name!r}{nearest(name, AgentOptions.model_fields)}")
    return SetupError(f"AgentOptions({name}=...): {first['msg']}, not {first['input']!r}")
