"""Run the attacks and print what became of each: `python -m tests.escapes`. Exits with 1 if one was not stopped."""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter

from tests.escapes.attack import Attack, Control
from tests.escapes.attacks import ATTACKS, THEMES
from tests.escapes.lane import Shot, runs_here, shoot


def main() -> int:
    """Print a table with a line for each attack."""
    parser = argparse.ArgumentParser(prog="python -m tests.escapes", description=__doc__)
    parser.add_argument("--only", default="", help="attacks with this text in their name")
    parser.add_argument("--theme", choices=THEMES, action="append", help="attacks of this theme")
    parser.add_argument("--lanes", type=int, help="how many attacks run side by side")
    parser.add_argument("-v", action="store_true", help="show what each cell said")
    options = parser.parse_args()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="backslashreplace")  # attacks print what is no text

    theme_of = {attack.name: theme for theme, attacks in THEMES.items() for attack in attacks}
    chosen = [
        attack for attack in ATTACKS
        if options.only in attack.name and theme_of[attack.name] in (options.theme or THEMES) and runs_here(attack)
    ]  # fmt: skip
    print(f"{'theme':14}{'attack':62}{'local':20}without confinement")
    failed, counts = 0, Counter[str]()
    for attack, shot in zip(chosen, shoot(chosen, lanes=options.lanes), strict=True):
        wrong = not shot.stopped or not shot.proven
        failed += wrong
        counts[shot.outcome] += 1
        mark = "  <-- NOT STOPPED" if not shot.stopped else "  <-- PROVES NOTHING" if not shot.proven else ""
        print(f"{theme_of[attack.name]:14}{attack.name:62}{shot.outcome:20}{_control(attack, shot)}{mark}", flush=True)
        if options.v or wrong:
            print("\n".join(f"    {line}" for line in f"{shot.why}\n{shot.control_why}".splitlines() if line.strip()))
    print("\n" + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    print(f"{failed} of {len(chosen)} went wrong" if failed else f"all {len(chosen)} were stopped")
    return min(failed, 1)


def _control(attack: Attack, shot: Shot) -> str:
    if shot.control is not None:
        return str(shot.control)
    return f"not run: {attack.why}" if attack.control is Control.NOT_RUN else f"the same: {attack.why}"


if __name__ == "__main__":
    sys.exit(main())
