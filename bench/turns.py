"""What a turn costs besides the model: the time between the model's reply and the next request.

    python bench/turns.py [--turns 310] [--rounds 3]

The model answers at once, in a process of its own, which notes when its reply left and when the next request came. Each
turn runs a cell that prints a little, so each is one `think`, one `act` and one `observe`, and the request grows by
about 800 bytes. Beside the engine on its own saver: the same on LangGraph's saver, the same with nothing recorded, and
the peer `rlms`, which records nothing. Figures are medians of a window of turns, over all rounds.

Then what a turn takes of this process's processor time, how large a database 200 turns of 5 KB replies make, of words
alone and of code alone, and the most memory that a process with a run of five turns holds.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from parts import engine, peers
from parts.provider import Provider, Script, provider

WINDOWS = {10: 5, 100: 10, 300: 10}
"""How many turns before and after this one are looked at."""


def script(turns: int) -> Script:
    code = "Thinking about it.\n```repl\nx = {0}\nprint('step', x, 'of the work is done, and nothing was found')\n```"
    # `rlms` takes its answer from a line of the reply, the engine from the code.
    return Script(root=[*(code.format(number) for number in range(turns)), "```repl\nFINAL('ok')\n```\nFINAL(ok)"])


def long_replies(turns: int, *, code: bool) -> Script:
    """Return replies of 5,000 characters beside the cell; with `code`, these stand in the cell."""
    words = " ".join(f"{number * number:x}" for number in range(2_000))[:5_000]
    cell = f"text = {words!r}\nprint(len(text))" if code else "print('a line')"
    said = "Next." if code else words
    return Script(root=[*[f"{said}\n```repl\n{cell}\n```"] * turns, "```repl\nFINAL('ok')\n```"])


def peak_mb(url: str, turns: int) -> float:
    """Return the most memory, in MB, that this process has held once it has done a run of so many turns."""
    engine.run(url, turns, "ours")
    # Not `getrusage`, which counts what the process that started this one held.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def gaps(noted: Provider, turns: int) -> dict[int, list[float]]:
    """Return the milliseconds between reply and request, by the turn around which they lie."""
    exchanges = noted.exchanges()["root"]
    all_gaps = [1000 * (later.came - one.left) for one, later in itertools.pairwise(exchanges)]
    return {turn: all_gaps[turn - by : turn + by] for turn, by in WINDOWS.items() if turn + by <= turns}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=310, help="110 leaves out the turn 300")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    cpu_ms: dict[str, list[float]] = defaultdict(list)
    with provider() as asked:
        for _ in range(options.rounds):
            for kind in engine.SAVERS:
                asked.follow(script(options.turns))
                begun = time.process_time()
                engine.run(asked.url, options.turns, kind)
                cpu_ms[kind].append(1000 * (time.process_time() - begun) / options.turns)
                for turn, row in gaps(asked, options.turns).items():
                    found[kind][turn] += row
            for peer in peers.PEERS:
                asked.follow(script(options.turns))
                if peers.run(peer, asked.url, options.turns):
                    for turn, row in gaps(asked, options.turns).items():
                        found[peer][turn] += row
        sizes = {}
        for what, code in (("of words", False), ("of code", True)):
            asked.follow(long_replies(200, code=code))
            sizes[what] = engine.run(asked.url, 200, "ours")
        asked.follow(script(5))
        with multiprocessing.get_context("spawn").Pool(1) as another:
            peak = another.apply(peak_mb, (asked.url, 5))
    turns = sorted(found["ours"])
    print(f"{'ms between reply and request':34}", *(f"{f'turn {turn}':>28}" for turn in turns))
    titles = {"ours": "recorded (SQLite)", "langgraph": "on LangGraph's saver", "none": "nothing recorded"}
    for kind, rows in found.items():
        cells = []
        for turn in turns:
            low, _, high = quantiles(rows[turn], n=4)
            ratio = median(rows[turn]) / median(found["ours"][turn])
            cells.append(f"{median(rows[turn]):8.1f} ({low:.1f}-{high:.1f}, x {ratio:.2f})".rjust(28))
        print(f"{titles.get(kind, kind):34}", *cells)
    for kind, each in cpu_ms.items():
        print(f"{titles[kind]:34} {median(each):.1f} ms of processor time a turn in this process")
    for what, size in sizes.items():
        print(f"the database of 200 turns of 5 KB {what}: {size / 1e6:.1f} MB")
    print(f"the most memory of a process with a run of 5 turns: {peak:.0f} MB")


if __name__ == "__main__":
    main()
