"""Runs, a page at a time, and what one of them holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlm_graph.budget import Usage
from rlm_graph.errors import InputError
from rlm_graph.runs.decisions import Waiting
from rlm_graph.state import Answer, ContextRef, Turn
from rlm_graph.storage.runs import Run, Runs, Status
from rlm_graph.value import Value


class Page(Value):
    """Some of the runs, the newest first."""

    runs: tuple[Run, ...]
    after: str | None = None
    """Where the next page begins, for `list(after=...)`; None on the last one."""


class RunRecord(Value):
    """A run with what it did, as far as it is recorded."""

    run: Run
    contexts: tuple[ContextRef, ...] = ()
    turns: tuple[Turn, ...] = ()
    answer: Answer | None = None
    usage: Usage
    waiting: tuple[Waiting, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """Which runs are listed."""

    status: Status | None = None
    model: str | None = None
    search: str | None = None
    """Words that stand in the question, in any case of letters."""

    def fits(self, run: Run) -> bool:
        return (
            (self.status is None or run.status == self.status)
            and (self.model is None or run.model == self.model)
            and (self.search is None or self.search.casefold() in run.question.casefold())
        )


async def page(runs: Runs, wanted: Wanted, *, limit: int | None, after: str | None) -> Page:
    """Return one page of the runs that are wanted. Raises `InputError` if `after` is of no page, or `limit` is 0."""
    if limit is not None and limit < 1:
        raise InputError(f"a page of {limit} runs holds none; ask for one at least")
    # As they are now: the status of one whose process has died is not what its entry says.
    found = [run for run in await runs.seen(await runs.all()) if wanted.fits(run)]
    left = found if after is None else _beyond(found, after)
    shown = left[:limit]
    return Page(runs=tuple(shown), after=_mark(shown[-1]) if len(shown) < len(left) else None)


async def record(runs: Runs, name: str) -> RunRecord:
    """Return what is recorded of the run called `name`, read once. Raises `RunNotFoundError`."""
    [run] = await runs.seen([await runs.get(name)])
    snapshot = await runs.snapshot(run.id)
    state: Mapping[str, Any] = dict(snapshot.values)
    answer = state.get("answer")
    return RunRecord(
        run=run,
        contexts=tuple(state.get("contexts", ())),
        turns=tuple(state.get("turns", ())),
        answer=answer if isinstance(answer, Answer) else None,
        usage=state.get("usage", run.usage),
        waiting=tuple(map(Waiting.of, snapshot.interrupts)),
    )


async def users_of(runs: Runs, repls: Sequence[str]) -> dict[str, str]:
    """Return the runs that use these REPLs, by the REPLs' names."""
    found: dict[str, str] = {}
    for run in await runs.all():
        if len(found) == len(repls):
            break
        handle = (await runs.state(run.id)).get("repl")
        if handle is not None and handle.id in repls:
            found[handle.id] = run.id
    return found


def _mark(run: Run) -> str:
    return f"{run.created!r}~{run.id}"


def _beyond(found: Sequence[Run], after: str) -> Sequence[Run]:
    """Return the runs after a mark, whose own run may have been deleted since."""
    created, _, id = after.partition("~")
    try:
        moment = float(created)
    except ValueError as error:
        raise InputError(f"{after!r} is no place in the list; give what a page had as `after`") from error
    left = [run for run in found if run.created <= moment]
    ids = [run.id for run in left]
    return left[ids.index(id) + 1 :] if id in ids else [run for run in left if run.created < moment]
