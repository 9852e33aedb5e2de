"""Stand-ins that keep the real protocols, for the tests of anything built on rlm-graph.

`ScriptedServer` is a model behind genuine HTTP, `ScriptedModel` one in the same process, and `ScriptedExecutor` a
sandbox that runs no code. None of them needs a key, a network or a clock. `check_tool` tests a tool.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm_graph.testing.executor import ScriptedExecutor as ScriptedExecutor
    from rlm_graph.testing.model import ScriptedModel as ScriptedModel
    from rlm_graph.testing.script import ScriptedCall as ScriptedCall
    from rlm_graph.testing.script import ScriptedReply as ScriptedReply
    from rlm_graph.testing.script import ScriptedRequest as ScriptedRequest
    from rlm_graph.testing.server import ScriptedServer as ScriptedServer
    from rlm_graph.tools.checking import check_tool as check_tool

_HOMES = {
    "ScriptedCall": "rlm_graph.testing.script",
    "ScriptedExecutor": "rlm_graph.testing.executor",
    "ScriptedModel": "rlm_graph.testing.model",
    "ScriptedReply": "rlm_graph.testing.script",
    "ScriptedRequest": "rlm_graph.testing.script",
    "ScriptedServer": "rlm_graph.testing.server",
    "check_tool": "rlm_graph.tools.checking",
}

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # the names are in the table alone


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
