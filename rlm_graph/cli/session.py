"""A command at work on one run: the service does it, the command draws it and says how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from rlm_graph.cli.exits import Exit
from rlm_graph.cli.printing import command, say, waiting
from rlm_graph.cli.standard_streams import others_print_to_stderr
from rlm_graph.errors import InputError, RLMError
from rlm_graph.runs.service import RunService

if TYPE_CHECKING:
    from rlm_graph.cli.output import Output
    from rlm_graph.runs.decisions import Verdict
    from rlm_graph.runs.live import LiveRun, Outcome, Watch
    from rlm_graph.runs.notices import Notice
    from rlm_graph.runs.service import Changes
    from rlm_graph.settings import Settings

T = TypeVar("T")

Begin = Callable[["Watch"], Awaitable["LiveRun"]]
"""Has the service begin work on a run, which is looked on in that way."""


class Session:
    """The service, on an event loop that turns only while the command waits for it."""

    def __init__(self, service: RunService, runner: asyncio.Runner) -> None:
        self.service = service
        self._runner = runner

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for what the service does."""
        return self._runner.run(work)

    def carry_out(
        self,
        begin: Begin,
        output: Output,
        *,
        changes: Changes,
        wait: bool,
        entered: Callable[[LiveRun], None] | None = None,
    ) -> Exit:
        """Begin work on a run, draw it until it ends, and give out its answer, or say how to go on.

        On a terminal, the user is asked about what waits for approval, and the run goes on under `changes`. With
        `wait`, a run that somebody else holds is waited for. `entered` is called before anything is drawn.
        """
        from rlm_graph.cli.approvals import ask, can_ask

        with others_print_to_stderr():
            outcome = self.call(_watched(begin, output, wait=wait, entered=entered))
        while outcome.waiting and can_ask(output):
            verdict = ask(outcome.waiting)
            if verdict is None:
                break
            outcome = self._decided(outcome.run.id, verdict, output, changes=changes, wait=wait)
        return report(outcome, output)

    def _decided(self, run: str, verdict: Verdict, output: Output, *, changes: Changes, wait: bool) -> Outcome:
        def begin(watch: Watch) -> Awaitable[LiveRun]:
            return self.service.resume(run, changes, verdict=verdict, watch=watch)

        with others_print_to_stderr():
            return self.call(_watched(begin, output, wait=wait, entered=None))


@contextmanager
def opened(settings: Settings) -> Iterator[Session]:
    """Open the service for one command. Between its calls Ctrl-C ends the command as it does any other program."""
    opening = RunService.open(settings)
    with asyncio.Runner() as runner:
        service = runner.run(opening.__aenter__())
        try:
            yield Session(service, runner)
        except BaseException as error:
            # What leaves the block passes through the database's, which words what its driver raises.
            if not runner.run(opening.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            runner.run(opening.__aexit__(None, None, None))


def report(outcome: Outcome, output: Output) -> Exit:
    """Give out the answer, or say how to go on; return how the command ends."""
    if outcome.waiting:
        from rlm_graph.cli.approvals import show

        show(outcome.run.id, outcome.waiting, output)
        return Exit.WAITING
    if outcome.answer is None:
        say(f"interrupted; go on: {command(f'resume {outcome.run.id}')}")
        return Exit.INTERRUPTED
    return output.report(outcome.run, outcome.question, outcome.answer, outcome.usage)


async def _watched(begin: Begin, output: Output, *, wait: bool, entered: Callable[[LiveRun], None] | None) -> Outcome:
    from rlm_graph.cli.interrupts import Interrupts
    from rlm_graph.cli.progress import Progress
    from rlm_graph.cli.streaming import Streamed
    from rlm_graph.runs.live import Watch

    progress = Progress(output)
    streamed = Streamed(as_json=output.json) if output.stream else None

    def observer(notice: Notice) -> None:
        progress.notice(notice.body)
        if streamed is not None:
            streamed.notice(notice.body)

    live = await begin(Watch(observer=observer, tokens=output.stream, waiting=waiting if wait else None))
    if entered is not None:
        entered(live)
    try:
        with Interrupts(live), nullcontext() if live.idle else progress.shown():
            return await live.outcome()
    except RLMError as error:
        if not isinstance(error, InputError):
            say(f"what was done is saved; go on: {command(f'resume {live.run.id}')}")
        raise
