"""Runs, a page at a time, and what one of them holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from rlm_graph.bridge import in_thread
from rlm_graph.budget import Usage
from rlm_graph.context import ContextStore
from rlm_graph.context.kept_answers import opened
from rlm_graph.errors import InputError
from rlm_graph.langgraph_internals import joined
from rlm_graph.runs.decisions import Waiting
from rlm_graph.runs.forks import own_usage
from rlm_graph.runs.story import Exchange, call_replies, exchanges
from rlm_graph.state import Answer, CallSummary, ContextRef, SubcallReply, Turn
from rlm_graph.storage.runs import AT_ONCE, Page, Run, Runs, Status
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


@dataclass(frozen=True)
class Wanted:
    """Which runs are listed."""

    status: Status | None = None
    model: str | None = None
    search: str | None = None
    """Words that stand in the question, in any case of letters."""

    @property
    def stored_status(self) -> Status | None:
        """The status under which the database has all of them, if that is one."""
        return None if self.status == "interrupted" else self.status

    @property
    def is_choosy(self) -> bool:
        """Whether some of what the database finds may not be wanted."""
        return self.model is not None or self.search is not None or self.status in ("interrupted", "running")

    def fits(self, run: Run) -> bool:
        return (
            (self.status is None or run.status == self.status)
            and (self.model is None or run.model == self.model)
            and (self.search is None or self.search.casefold() in run.question.casefold())
        )


async def page(runs: Runs, wanted: Wanted, *, limit: int | None, after: str | None) -> Page:
    """Return one page of the runs that are wanted. Raises `InputError` if `after` is of no page, or `limit` is 0.

    No more runs are read than it takes to fill the page.
    """
    if limit is not None and limit < 1:
        raise InputError(f"a page of {limit} runs holds none; ask for one at least")
    found: list[Run] = []
    while True:
        batch = AT_ONCE if limit is None or wanted.is_choosy else min(AT_ONCE, limit + 1 - len(found))
        some = await runs.page(limit=batch, after=after, status=wanted.stored_status)
        # As they are now: the status of one whose process has died is not what its entry says.
        for run in filter(wanted.fits, await runs.seen(some.runs)):
            if len(found) == limit:
                return Page(runs=tuple(found), after=await runs.after(found[-1].id))
            found.append(run)
        if some.after is None:
            return Page(runs=tuple(found), after=None)
        after = some.after


async def record(runs: Runs, name: str, contexts: ContextStore) -> RunRecord:
    """Return what is recorded of the run called `name`, read once. Raises `RunNotFoundError`.

    A large answer lies in `contexts`: `InputError` if that is the folder of another machine.
    """
    [run] = await runs.seen([await runs.get(name)])
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
        calls=await call_replies(runs, run.id, state.get("turns", ())),
    )


async def users_of(runs: Runs, repls: Sequence[str]) -> dict[str, str]:
    """Return the runs that use these REPLs, by the REPLs' names."""
    found: dict[str, str] = {}
    async for run in runs.each():
        if len(found) == len(repls):
            break
        handle = (await runs.state(run.id)).get("repl")
        if handle is not None and handle.id in repls:
            found[handle.id] = run.id
    return found
