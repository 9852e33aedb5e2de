"""Where a run stands, and the input that takes it on from there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rlm_graph.budget import Usage
from rlm_graph.errors import Hint, InputError
from rlm_graph.langgraph_internals import cut_off
from rlm_graph.runs.decisions import Verdict, Waiting
from rlm_graph.runs.job import Job
from rlm_graph.state import Answer, ContextRef

NOTHING: Final = object()
"""The input of a run that has nothing left to do: it has its answer, or waits for approval."""


class Refused(InputError):
    """What was asked for does not fit the run as it stands, which stays as it was."""


@dataclass(frozen=True)
class Standing:
    """Where a run stands, as its last checkpoint and what was written on top of it tell."""

    id: str
    state: Mapping[str, Any]
    """Empty before the first checkpoint."""
    pending: bool = False
    """Whether a step is under way."""
    waiting: tuple[Waiting, ...] = ()
    cut: tuple[str, Mapping[str, Any]] | None = None
    """See `rlm_graph.langgraph_internals.cut_off`."""

    @classmethod
    async def read(cls, graph: Any, id: str) -> Standing:
        """Read it, in one read of the checkpoint."""
        snapshot = await graph.aget_state(config_of(id))
        # A step whose tasks have all ended, while no checkpoint holds it yet, has tasks and no `next`.
        pending = bool(snapshot.next or snapshot.tasks)
        return cls(
            id,
            dict(snapshot.values),
            pending,
            tuple(map(Waiting.of, snapshot.interrupts)),
            cut_off(snapshot),
        )

    @property
    def usage(self) -> Usage:
        """What has been spent."""
        usage: Usage = self.state.get("usage", Usage())
        return usage

    @property
    def answer(self) -> Answer | None:
        """The answer, if there is one."""
        answer = self.state.get("answer")
        return answer if isinstance(answer, Answer) else None


Continuation = Callable[[Any, Standing, Job], Awaitable[Any]]
"""Makes the graph's input of the graph, where the run stands, and the job. Raises `Refused`."""


def config_of(id: str) -> Any:
    """Return LangGraph's config of a run that the caller holds."""
    from rlm_graph.calls.subcalls import LOCKED

    return {"configurable": {"thread_id": id, LOCKED: True}}


async def beginning(graph: Any, standing: Standing, job: Job) -> Any:
    """Return the input that starts the run."""
    return job.given


def question(text: str, context: ContextRef | None, *, anywhere: bool = False) -> Continuation:
    """Ask another question: of a run that has answered, or wherever it stands."""

    async def asked(graph: Any, standing: Standing, job: Job) -> Any:
        if not anywhere and (standing.pending or not standing.state):
            raise Refused(f"run {standing.id} has not answered yet", hint=Hint("resume", standing.id))
        given = {"question": text, "context": context, "budget": job.settings.budget}
        return {key: value for key, value in given.items() if value is not None}

    return asked


def continuation(verdict: Verdict | None = None) -> Continuation:
    """Take the run up where it stood, with what was decided on what waits for approval."""

    async def continued(graph: Any, standing: Standing, job: Job) -> Any:
        from langgraph.types import Command

        if verdict is not None and not standing.waiting:
            if standing.answer is not None and not standing.pending:
                raise Refused(f"run {standing.id} has answered; nothing waits", hint=Hint("show_run", standing.id))
            raise Refused(f"run {standing.id} waits for no approval", hint=Hint("resume", standing.id))
        if not standing.state and not standing.pending:
            return job.given  # it was stopped before its first checkpoint
        budget = job.settings.budget
        larger = budget != standing.state.get("budget")
        if standing.waiting:
            return NOTHING if verdict is None else _decided(verdict, standing, {"budget": budget} if larger else None)
        if standing.cut is not None:
            # As if the node had ended just now, with the same result: its router is asked again. Nothing of the next
            # step has begun, so no recorded call loses its name.
            node, result = standing.cut
            await graph.aupdate_state(config_of(standing.id), result, as_node=node)
            return Command(update={"budget": budget}) if larger else None
        if standing.pending:
            # The update joins the checkpoint that is there. A new one would give the step under way another name, and
            # the calls recorded under its old name would be made again.
            return Command(update={"budget": budget}) if larger else None
        answer = standing.answer
        if answer is None or answer.ceiling is None or not larger or budget.exceeded(standing.usage):
            return NOTHING
        # The answer is taken back, so that the run goes round again: as if its finalize had found it wanting.
        taken_back = {"budget": budget, "answer": None, "final": None, "ceiling": None}
        await graph.aupdate_state(config_of(standing.id), taken_back, as_node="finalize")
        return None

    return continued


def _decided(verdict: Verdict, standing: Standing, update: Mapping[str, Any] | None) -> Any:
    from langgraph.types import Command

    try:
        answers = verdict.answers(standing.waiting)
    except InputError as error:
        raise Refused(error.problem, hint=error.hints) from error
    return Command(resume=answers, update=dict(update) if update else None)
