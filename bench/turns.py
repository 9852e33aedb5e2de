"""What a turn costs besides the model: the time between the model's reply and the next request.

    python bench/turns.py [--turns 110] [--rounds 3]

The model answers at once, in a process of its own, which notes when its reply left and when the next request came. Each
turn runs a cell that prints a little, so each is one `think`, one `act` and one `observe`, and the request grows by
about 800 bytes. Beside the engine on its own saver: the same on LangGraph's saver, the same with nothing recorded, and
the peer `rlms`, which records nothing. Figures are medians of a window of turns, over all rounds.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Sequence
from statistics import median, quantiles

from parts import engine, peers
from parts.provider import Provider, Script, provider

WINDOWS = {10: 5, 100: 10, 300: 10}
"""How many turns before and after this one are looked at."""


def script(turns: int) -> Script:
    code = "Thinking about it.\n```repl\nx = {0}\nprint('step', x, 'of the work is done, and nothing was found')\n```"
    # `rlms` takes its answer from a line of the reply, the engine from the code.
    return Script(root=[*(code.format(number) for number in range(turns)), "```repl\nFINAL('ok')\n```\nFINAL(ok)"])


def gaps(noted: Provider, turns: int) -> dict[int, list[float]]:
    """Return the milliseconds between reply and request, by the turn around which they lie."""
    exchanges = noted.exchanges()["root"]
    all_gaps = [1000 * (later.came - one.left) for one, later in itertools.pairwise(exchanges)]
    return {turn: all_gaps[turn - by : turn + by] for turn, by in WINDOWS.items() if turn + by <= turns}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=110, help="310 shows the turn 300 too")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    size = 0
    with provider() as asked:
        for _ in range(options.rounds):
            for kind in engine.SAVERS:
                asked.follow(script(options.turns))
                bytes_kept = engine.run(asked.url, options.turns, kind)
                size = bytes_kept if kind == "ours" else size
                for turn, row in gaps(asked, options.turns).items():
                    found[kind][turn] += row
            for peer in peers.PEERS:
                asked.follow(script(options.turns))
                if peers.run(peer, asked.url, options.turns):
                    for turn, row in gaps(asked, options.turns).items():
                        found[peer][turn] += row
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
    print(f"the database of {options.turns} turns: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
