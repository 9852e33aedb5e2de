"""A process that runs the attacks that it is told of, and many of them side by side.

Each lane has targets of its own and adopts whatever its attacks leave behind, so that nothing goes unseen and nothing
is taken for another's. `python -m tests.escapes.lane` reads names from its input and writes a JSON line for each.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import LocalSettings
from tests.escapes.attack import Attack, Control, Outcome
from tests.escapes.attacks import ATTACKS
from tests.escapes.orphans import adopt_orphans
from tests.escapes.targets import Targets
from tests.escapes.trial import Range, Verdict

SETTINGS = LocalSettings(memory_bytes=512 << 20, max_file_bytes=32 << 20, max_threads=32, idle_timeout_s=120)
"""Small, so that what is bounded is soon used up, and what a failed lane leaves soon ends."""
BY_NAME = {attack.name: attack for attack in ATTACKS}
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Shot:
    """What became of an attack with confinement, and of the same one without it."""

    name: str
    outcome: Outcome
    why: str
    control: Outcome | None = None
    control_why: str = ""

    @property
    def stopped(self) -> bool:
        """Whether the executor did with it what it should."""
        return self.outcome in BY_NAME[self.name].stopped

    @property
    def proven(self) -> bool:
        """Whether the control shows that the attack is one, where it claims to be."""
        if BY_NAME[self.name].control is Control.BITES:
            return self.control in (Outcome.BREACH, Outcome.DECLARED)
        return True


def runs_here(attack: Attack) -> bool:
    """Whether the attack is written for this machine."""
    return attack.needs in ("", platform.machine())


def shoot(attacks: Sequence[Attack], *, lanes: int | None = None) -> Iterator[Shot]:
    """Run attacks in several lanes; yield what became of each, in the order given."""
    lane = threading.local()
    started: list[subprocess.Popen[str]] = []

    def one(attack: Attack) -> Shot:
        process = getattr(lane, "process", None)
        if process is None or process.poll() is not None:
            process = lane.process = subprocess.Popen(
                [sys.executable, "-m", "tests.escapes.lane"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )  # fmt: skip
            started.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(attack.name + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            return Shot(**json.loads(line))
        except (OSError, ValueError) as error:
            process.kill()
            return Shot(attack.name, Outcome.BREACH, f"the host of the attack is gone: {error!r}")

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
        local = Range(LocalExecutor(SETTINGS, folder=folder / "r"), targets)
        control = Range(LocalExecutor(SETTINGS.model_copy(update={"unsafe": True}), folder=folder / "u"), targets)
        with asyncio.Runner() as runner:
            for line in iter(sys.stdin.readline, ""):
                attack = BY_NAME[line.rstrip("\n")]
                verdict = runner.run(local.run(attack))
                bare = runner.run(control.run(attack)) if attack.control in (Control.BITES, Control.MAY_BITE) else None
                shot = Shot(attack.name, verdict.outcome, _why(verdict))
                if bare is not None:
                    shot = replace(shot, control=bare.outcome, control_why=_why(bare))
                print(json.dumps(asdict(shot)), flush=True)
            runner.run(local.close())
            runner.run(control.close())
        targets.close()


def _why(verdict: Verdict) -> str:
    return "\n".join([*verdict.evidence, verdict.told])[:4000]


if __name__ == "__main__":
    main()
