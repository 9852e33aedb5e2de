"""A process that runs the attacks that it is told of, and many of them side by side.

Each lane has targets of its own and adopts whatever its attacks leave behind, so that nothing goes unseen and nothing
is taken for another's. `python -m tests.escapes.lane SITE...` reads names from its input and writes a JSON line for
each.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.escapes.attack import Attack, Control, Outcome
from tests.escapes.attacks import ATTACKS
from tests.escapes.e2b_site import BESIDE_PROGRAMS, OF_THE_MACHINE
from tests.escapes.orphans import adopt_orphans
from tests.escapes.sites import SITES
from tests.escapes.targets import Targets
from tests.escapes.trial import Range, Verdict

BY_NAME = {attack.name: attack for attack in ATTACKS}
ROOT = Path(__file__).resolve().parents[2]
CONTROL = "unconfined"
"""The site where nothing confines an attack: the proof that it is one."""

ITS_OWN: dict[str, tuple[Outcome, ...]] = {
    "docker": (Outcome.DENIED, Outcome.HARMLESS),
    "docker, bash": (Outcome.DENIED, Outcome.HARMLESS, Outcome.KILLED),
    "e2b, bash": (Outcome.DENIED, Outcome.HARMLESS, Outcome.KILLED),
    "pyodide": (Outcome.DENIED, Outcome.HARMLESS, Outcome.KILLED),
}
"""What may come of any attack where code has a world of its own: it reaches that, or nothing. Where it may start
programs, or write over all of its memory, it may also end itself."""

BENEATH: dict[str, Mapping[str, str]] = {"e2b, old kernel": OF_THE_MACHINE, "e2b, bash": BESIDE_PROGRAMS}
"""Attacks that what lies beneath the executor must hold, with the reason: where it is not there, they get through."""


@dataclass(frozen=True)
class Shot:
    """What became of an attack at one site."""

    name: str
    site: str
    outcome: Outcome
    why: str

    @property
    def stopped(self) -> bool:
        """Whether the executor did with it what it should."""
        attack = BY_NAME[self.name]
        declared = (Outcome.BREACH,) if self.name in BENEATH.get(self.site, ()) else ()
        return self.outcome in (*attack.stopped, *ITS_OWN.get(self.site, ()), *declared)

    @property
    def proven(self) -> bool:
        """Whether the control shows that the attack is one, where it claims to be."""
        if BY_NAME[self.name].control is Control.BITES:
            return self.outcome in (Outcome.BREACH, Outcome.DECLARED)
        return True


def runs_here(attack: Attack) -> bool:
    """Whether the attack is written for this machine."""
    return attack.needs in ("", platform.machine())


def shoot(
    attacks: Sequence[Attack], sites: Sequence[str] = ("local", CONTROL), *, lanes: int | None = None
) -> Iterator[dict[str, Shot]]:
    """Run attacks at each site, in several lanes; yield what became of each by site, in the order given.

    An attack that may not be run without confinement has no shot there.
    """
    lane = threading.local()
    started: list[subprocess.Popen[str]] = []

    def one(attack: Attack) -> dict[str, Shot]:
        process = getattr(lane, "process", None)
        if process is None or process.poll() is not None:
            process = lane.process = subprocess.Popen(
                [sys.executable, "-m", "tests.escapes.lane", *sites],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )  # fmt: skip
            started.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(attack.name + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            told = json.loads(line)
            return {site: Shot(attack.name, site, Outcome(outcome), why) for site, (outcome, why) in told.items()}
        except (OSError, ValueError) as error:
            process.kill()
            why = f"the host of the attack is gone: {error!r}"
            return {site: Shot(attack.name, site, Outcome.BREACH, why) for site in sites}

    try:
        with ThreadPoolExecutor(lanes or 2 * (os.cpu_count() or 1)) as pool:
            yield from pool.map(one, attacks)
    finally:
        for process in started:
            process.communicate()


def main() -> None:
    """Serve until the input ends."""
    adopt_orphans(True)
    with tempfile.TemporaryDirectory(prefix="rlm-escapes-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        targets = Targets(folder)
        os.environ["OPENAI_API_KEY"] = targets.token
        ranges = {site: Range(SITES[site](folder, targets), targets) for site in sys.argv[1:]}
        with asyncio.Runner() as runner:
            for line in iter(sys.stdin.readline, ""):
                attack = BY_NAME[line.rstrip("\n")]
                found = {}
                for site, one in ranges.items():
                    if site != CONTROL or attack.control in (Control.BITES, Control.MAY_BITE):
                        verdict = runner.run(one.run(attack))
                        found[site] = (verdict.outcome, _why(verdict))
                print(json.dumps(found), flush=True)
            for one in ranges.values():
                runner.run(one.close())
        targets.close()


def _why(verdict: Verdict) -> str:
    return "\n".join([*verdict.evidence, verdict.told])[:4000]


if __name__ == "__main__":
    main()
