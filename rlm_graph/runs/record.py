"""What one run holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from rlm_graph.bridge import in_thread
from rlm_graph.budget import Usage
from rlm_graph.context import ContextStore
from rlm_graph.context.kept_answers import opened
from rlm_graph.langgraph_internals import joined
from rlm_graph.runs.decisions import Waiting
from rlm_graph.runs.forks import own_usage
from rlm_graph.runs.story import Exchange, call_replies, exchanges
from rlm_graph.state import Answer, CallSummary, ContextRef, SubcallReply, Turn
from rlm_graph.storage.runs import Run, Runs
from rlm_graph.value import Value


class RunRecord(Value):
    """A run with what it did, as far as it is recorded."""

    run: Run
    contexts: tuple[ContextRef, ...] = ()
    turns: tuple[Turn, ...] = ()
    answer: Answer | None = None
    usage: Usage
    waiting: tuple[Waiting, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    """Each question with its own replies and its own answer, the first one first."""
    calls: dict[str, tuple[SubcallReply, ...]] = Field(default_factory=dict)
    """What the calls of the turns were answered, by the namespaces of their records."""

    def replies_to(self, turn: Turn, call: CallSummary) -> tuple[SubcallReply, ...]:
        """Return what a call of that turn was answered; nothing in runs of older versions."""
        return self.calls.get(joined(turn.namespace, call.record), ()) if call.record else ()


async def record(runs: Runs, run: Run, contexts: ContextStore) -> RunRecord:
    """Return what is recorded of the run, read once.

    A large answer lies in `contexts`: `InputError` if that is the folder of another machine.
    """
    snapshot = await runs.snapshot(run.id)
    state: Mapping[str, Any] = dict(snapshot.values)
    answer = await in_thread(opened, state.get("answer"), contexts)
    return RunRecord(
        run=run,
        contexts=tuple(state.get("contexts", ())),
        turns=tuple(state.get("turns", ())),
        answer=answer if isinstance(answer, Answer) else None,
        usage=own_usage(run, state),
        waiting=tuple(map(Waiting.of, snapshot.interrupts)),
        exchanges=exchanges(state, run.question),
        calls=await call_replies(runs, run.id, state.get("turns", ()), contexts),
    )
