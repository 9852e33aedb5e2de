"""Kill every scenario's run at every event, resume it, and print what became of it: `python -m tests.faults`.

Exits with 1 if an answer was wrong, a request was asked again whose answer was recorded, or anything else differed from
a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.faults.harness import Lane, lane
from tests.faults.outcome import Outcome
from tests.faults.places import has_docker
from tests.faults.scenarios import SCENARIOS, Scenario

SEED = 20


@dataclass(frozen=True)
class Job:
    """One trial of the sweep."""

    scenario: Scenario
    kills: tuple[int, ...]
    lose_repl: bool
    times: tuple[float, ...] = ()
    """Seconds after the start of its first lives at which it is killed."""
    clocks: tuple[float, ...] = ()
    """Seconds by which the clocks of its lives are wrong."""

    @property
    def line(self) -> str:
        """The line of the table that it counts for."""
        times = "clocks" if self.clocks else "timed" if self.times else "twice" if len(self.kills) > 1 else "once"
        return f"{self.scenario.name:12}{times:8}{'killed too' if self.lose_repl else 'left alive':12}"


def main() -> int:
    """Print a line for each scenario, and the sums."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", choices=names, action="append", help="only this one; may be given again")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="kill at every N-th event only")
    parser.add_argument("--pairs", type=int, default=20, metavar="N", help="runs of each scenario killed twice")
    parser.add_argument("--times", type=int, default=10, metavar="N", help="runs of each scenario killed at any time")
    parser.add_argument("--clocks", type=int, default=6, metavar="N", help="runs of each scenario whose clocks jump")
    parser.add_argument("--lanes", type=int, default=2, metavar="N", help="how many trials run side by side")
    options = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS if scenario.name in (options.scenario or names)]
    if not has_docker():
        for scenario in (each for each in chosen if each.executor == "docker"):
            print(f"{scenario.name}: left out, for no Docker daemon answers")
        chosen = [scenario for scenario in chosen if scenario.executor != "docker"]
    with ExitStack() as stack:
        lanes = [stack.enter_context(lane()) for _ in range(options.lanes)]
        undisturbed = {scenario.name: lanes[0].undisturbed(scenario) for scenario in chosen}
        for name, outcome in undisturbed.items():
            print(f"{name}: {len(outcome.events)} events, {len(outcome.requests)} requests, {outcome.usage}")
        jobs = [
            job for scenario in chosen
            for job in (
                *plan(scenario, undisturbed[scenario.name].events, options.every, options.pairs),
                *plan_at_any_time(scenario, undisturbed[scenario.name], options.times, options.clocks),
            )
        ]  # fmt: skip
        tally = Tally(undisturbed)
        interrupted = run_all(lanes, jobs, tally)
    return tally.report() or int(interrupted)


def plan(scenario: Scenario, events: Sequence[str], every: int, pairs: int) -> Iterator[Job]:
    """Yield the trials of one scenario: each event once, with the REPL left alive and killed too, and some twice.

    If not `every` event is wanted, what is left out with the REPL alive is not left out with the REPL killed.
    """
    chance = random.Random(SEED)
    every *= scenario.every
    for lose_repl in (False, True):
        # Before there is a REPL, none can be lost.
        first = events.index("start") // every * every + 1 + every // 2 if lose_repl else 1
        for number in range(first, len(events) + 1, every):
            yield Job(scenario, (number,), lose_repl)
        for _ in range(pairs):
            number = chance.randint(min(first, len(events)), len(events))
            yield Job(scenario, (number, number + chance.randint(1, len(events))), lose_repl)


def plan_at_any_time(scenario: Scenario, undisturbed: Outcome, times: int, clocks: int) -> Iterator[Job]:
    """Yield the trials of one scenario that are killed at random times, and those whose clocks jump by hours."""
    chance = random.Random(SEED)
    for number in range(times):
        after_s = tuple(chance.uniform(0, undisturbed.took_s) for _ in range(1 + number % 3))
        yield Job(scenario, (), bool(number % 2), times=after_s)
    for number in range(clocks):
        kills = sorted(chance.sample(range(2, len(undisturbed.events) + 1), 3))
        wrong_s = tuple(chance.uniform(-12, 12) * 3600 for _ in range(4))
        yield Job(scenario, tuple(kills), bool(number % 2), clocks=wrong_s)


class Tally:
    """What became of the trials."""

    def __init__(self, undisturbed: dict[str, Outcome]) -> None:
        self._undisturbed = undisturbed
        self._counts: dict[str, Counter[str]] = {}
        self._faults: list[str] = []
        self._lock = threading.Lock()

    def add(self, job: Job, outcome: Outcome) -> None:
        """Count a trial, and tell at once if something was wrong with it."""
        undisturbed = self._undisturbed[job.scenario.name]
        faults = outcome.faults(job.scenario, undisturbed)
        with self._lock:
            counts = self._counts.setdefault(job.line, Counter())
            counts["trials"] += 1
            counts["kills"] += outcome.kills
            counts["under way"] += sum(map(len, outcome.under_way))
            counts["wrong"] += not outcome.right(undisturbed)
            counts["again"] += len(outcome.asked_again(undisturbed))
            counts["faults"] += bool(faults)
            for fault in faults:
                self._faults.append(f"{job.line} {job.kills or job.times}: {fault}")
                print(self._faults[-1], flush=True)

    def report(self) -> int:
        """Print the table; return the exit code."""
        print(f"\n{'scenario':12}{'':8}{'REPL':12}{'kills':>8}{'under way':>12}{'wrong':>8}{'again':>8}{'faults':>8}")
        total = Counter[str]()
        for line, counts in self._counts.items():
            print(line + figures(counts))
            total += counts
        print(f"{'all':32}{figures(total)}")
        print(
            f"\nkills: {total['kills']}\nwrong answers: {total['wrong']}\n"
            f"requests asked again beyond those under way: {total['again']}"
        )
        return int(bool(self._faults) or not total["kills"])


def figures(counts: Counter[str]) -> str:
    """Return the columns of one line."""
    names = (("kills", 8), ("under way", 12), ("wrong", 8), ("again", 8), ("faults", 8))
    return "".join(f"{counts[name]:>{width}}" for name, width in names)


def run_all(lanes: Sequence[Lane], jobs: Sequence[Job], tally: Tally) -> bool:
    """Run the trials, each lane one after another. Return True if Ctrl-C ended it before its time."""
    waiting = list(reversed(jobs))

    def work(here: Lane) -> None:
        while True:
            try:
                job = waiting.pop()
            except IndexError:
                return
            try:
                outcome = here.run(job.scenario, job.kills, times=job.times, clocks=job.clocks, lose_repl=job.lose_repl)
            except TimeoutError as error:
                outcome = Outcome(failure=str(error), records=[(0, set())])
            tally.add(job, outcome)
            if len(waiting) % 50 == 0:
                print(f"{len(jobs) - len(waiting)} of {len(jobs)}", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=work, args=(here,)) for here in lanes]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        waiting.clear()
        for thread in threads:
            thread.join()
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
