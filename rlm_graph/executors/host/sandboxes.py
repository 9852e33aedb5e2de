"""A sandbox that somebody started: who uses it, and whether it can be ended."""

from __future__ import annotations

from typing import Literal

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.host.process import has_ended
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.sandbox.frames import Frame
from rlm_graph.state import ReplHandle
from rlm_graph.value import Value

State = Literal["attached", "idle", "orphaned", "dead", "unknown"]
"""`attached`: a host uses it now. `idle`: none does. `orphaned`: the last one was a process of this machine and has
ended. `dead`: what is left of one that does not work any more. `unknown`: it is of another version and cannot tell."""


class Sandbox(Value):
    """A REPL that somebody started."""

    handle: ReplHandle
    state: State
    created: float
    """Unix seconds."""
    host: str = ""
    """The machine and the process that used it last, as far as it is known."""
    idle_s: float | None = None
    """How long nobody has used it."""

    def is_over(self, *, older_than_s: float, now: float) -> bool:
        """Whether nobody will miss it: its host is gone, or nobody has used it for so long."""
        if self.state in ("dead", "orphaned"):
            return True
        if self.state == "unknown":
            return now - self.created >= older_than_s
        return self.idle_s is not None and self.idle_s >= older_than_s


async def looked_at(repl: SupervisedRepl, *, created: float, host: str = "") -> Sandbox:
    """Ask a REPL how it is. `host` is where it was started, if its supervisor does not know better."""
    state: State
    told: Frame = {}
    try:
        told = await repl.look()
        state = _state(told)
    except OSError:
        state = "dead"
    except ExecutorError:
        state = "unknown"
    finally:
        await repl.detach()
    idle_s = told.get("idle_s")
    return Sandbox(
        handle=repl.handle,
        state=state,
        created=created,
        host=_name(told.get("host")) or host,
        idle_s=float(idle_s) if isinstance(idle_s, int | float) else None,
    )


def _state(told: Frame) -> State:
    if told.get("idle_s") is None:
        return "attached"
    return "orphaned" if has_ended(told.get("host")) else "idle"


def _name(host: object) -> str:
    return f"{host.get('name')}:{host.get('pid')}" if isinstance(host, dict) else ""
