"""Stand-ins that keep the real protocols, for the tests of anything built on rlm-graph.

`ScriptedServer` is a model behind genuine HTTP, `ScriptedModel` one in the same process, and `ScriptedExecutor` a
sandbox that runs no code. None of them needs a key, a network or a clock.
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

_HOMES = {
    "ScriptedCall": "script",
    "ScriptedExecutor": "executor",
    "ScriptedModel": "model",
    "ScriptedReply": "script",
    "ScriptedRequest": "script",
    "ScriptedServer": "server",
}

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # the names are in the table alone


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
