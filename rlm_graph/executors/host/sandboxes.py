"""A sandbox that somebody started: who uses it, and whether it can be ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.host.process import has_ended
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.sandbox.frames import Frame
from rlm_graph.state import ReplHandle
from rlm_graph.value import Value

State = Literal["attached", "idle", "orphaned", "dead", "unknown"]
"""`attached`: an owner uses the sandbox now. `idle`: nobody does. `orphaned`: the last owner was a process of this
machine and has ended. `dead`: what is left of a sandbox that does not work any more. `unknown`: its supervisor is of
another version and cannot tell."""


class Sandbox(Value):
    """A REPL that somebody started."""

    handle: ReplHandle
    state: State
    created: float
    """Unix seconds."""
    owner: str = ""
    """The machine and the process that used it last, as far as it is known."""
    idle_s: float | None = None
    """How long nobody has used it."""

    def is_over(self, *, older_than_s: float, now: float) -> bool:
        """Whether nobody will miss it: its owner is gone, or nobody has used it for so long."""
        if self.state in ("dead", "orphaned"):
            return True
        if self.state == "unknown":
            return now - self.created >= older_than_s
        return self.idle_s is not None and self.idle_s >= older_than_s


class ListedSandbox(NamedTuple):
    """A sandbox as its place knows it, before its supervisor was asked."""

    handle: ReplHandle
    created: float
    """Unix seconds."""
    owner: str = ""
    """Where it was started, for the case that its supervisor does not know better."""
    state: State | None = None
    """Set where it is known without asking the supervisor, or the supervisor cannot be asked."""
    idle_s: float | None = None
    unheard: State = "dead"
    """Its state if it turns out that nobody listens there."""


async def look_at(listed: ListedSandbox, glance: Callable[[ReplHandle], Awaitable[SupervisedRepl]]) -> Sandbox:
    """Ask a sandbox how it is, unless that is known; `glance` returns its REPL, not attached to."""
    state, report = listed.state, Frame()
    if state is None:
        state, report = await _ask(listed, glance)
    idle_s = report.get("idle_s", listed.idle_s)
    return Sandbox(
        handle=listed.handle,
        state=state,
        created=listed.created,
        owner=_name(report.get("host")) or listed.owner,
        idle_s=float(idle_s) if isinstance(idle_s, int | float) else None,
    )


async def _ask(listed: ListedSandbox, glance: Callable[[ReplHandle], Awaitable[SupervisedRepl]]) -> tuple[State, Frame]:
    try:
        repl = await glance(listed.handle)
    except OSError:
        return listed.unheard, {}
    try:
        report = await repl.look()
        return _state(report), report
    except OSError:
        return listed.unheard, {}
    except ExecutorError:
        return "unknown", {}
    finally:
        await repl.detach()


def _state(report: Frame) -> State:
    if report.get("idle_s") is None:
        return "attached"
    return "orphaned" if has_ended(report.get("host")) else "idle"


def _name(owner: object) -> str:
    return f"{owner.get('name')}:{owner.get('pid')}" if isinstance(owner, dict) else ""
