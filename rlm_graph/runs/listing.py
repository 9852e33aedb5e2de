"""Runs, a page at a time, and who uses what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlm_graph.errors import InputError
from rlm_graph.storage.runs import AT_ONCE, Page, Run, Runs, Status


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
