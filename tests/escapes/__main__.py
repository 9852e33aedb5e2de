"""Run the attacks and print what became of each: `python -m tests.escapes`. Exits with 1 if one was not stopped."""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter

from tests.escapes.attacks import ATTACKS, THEMES
from tests.escapes.lane import CONTROL, runs_here, shoot
from tests.escapes.sites import SITES, sites_here


def main() -> int:
    """Print a table with a line for each attack."""
    parser = argparse.ArgumentParser(prog="python -m tests.escapes", description=__doc__)
    parser.add_argument("--only", default="", help="attacks with this text in their name")
    parser.add_argument("--theme", choices=THEMES, action="append", help="attacks of this theme")
    parser.add_argument("--site", choices=SITES, action="append", help="where; by default all that are here")
    parser.add_argument("--lanes", type=int, help="how many attacks run side by side")
    parser.add_argument("-v", action="store_true", help="show what each cell said")
    options = parser.parse_args()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="backslashreplace")  # attacks print what is no text

    sites = options.site or [*sites_here(), CONTROL]
    theme_of = {attack.name: theme for theme, attacks in THEMES.items() for attack in attacks}
    chosen = [
        attack for attack in ATTACKS
        if options.only in attack.name and theme_of[attack.name] in (options.theme or THEMES) and runs_here(attack)
    ]  # fmt: skip
    print(f"{'theme':14}{'attack':62}" + "".join(f"{site:20}" for site in sites))
    failed, counts = 0, {site: Counter[str]() for site in sites}
    for attack, shots in zip(chosen, shoot(chosen, sites, lanes=options.lanes), strict=True):
        wrong = [shot for shot in shots.values() if not (shot.proven if shot.site == CONTROL else shot.stopped)]
        failed += bool(wrong)
        for shot in shots.values():
            counts[shot.site][shot.outcome] += 1
        columns = "".join(f"{shots[site].outcome if site in shots else 'not run':20}" for site in sites)
        marks = ["PROVES NOTHING" if shot.site == CONTROL else "NOT STOPPED" for shot in wrong]
        print(f"{theme_of[attack.name]:14}{attack.name:62}{columns}{attack.why}", *marks, sep=" <-- ", flush=True)
        for shot in shots.values() if options.v else wrong:
            print("\n".join(f"    {shot.site}: {line}" for line in shot.why.splitlines() if line.strip()))
    print()
    for site in sites:
        print(f"{site}: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts[site].items())))
    print(f"{failed} of {len(chosen)} went wrong" if failed else f"all {len(chosen)} were stopped")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
