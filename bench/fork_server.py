"""What it takes to start a REPL that is forked from a warm process, beside one that starts an interpreter for itself.

    python bench/fork_server.py [--rounds 20]

Both in the same run, in turn: `new` ends the fork server first, as if there had been none; `forked` finds it running,
as every REPL of a process but the first does. Times are medians of the rounds, the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from statistics import median

from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.executors.machine.fork_server import FORK_SERVER
from rlm_graph.state import Cell


async def no(call: HostCall) -> CallResult:
    """Refuse a call: the cell makes none."""
    return CallResult()


async def start(executor: LocalExecutor) -> dict[str, float]:
    """Return the seconds until a REPL is there, and until it has run a cell; end it."""
    began = time.perf_counter()
    async with executor.attached(None) as repl:
        there = time.perf_counter() - began
        await repl.run(Cell(code="x = 0"), number=1, serve=no, timeout_s=60)
        ran = time.perf_counter() - began
        await executor.close(repl.handle)
    return {"start": there, "start, first cell": ran}


async def compare(rounds: int) -> None:
    """Measure both in turn, and print a line for each figure."""
    executor = LocalExecutor()
    taken: dict[str, list[dict[str, float]]] = {"new": [], "forked": []}
    for _ in range(rounds):
        FORK_SERVER.close()
        for times in taken.values():
            times.append(await start(executor))
    print(f"{'ms':18}{'new':>10}{'forked':>10}{'ratio':>10}")
    for name in taken["new"][0]:
        new, forked = (1000 * median(times[name] for times in each) for each in taken.values())
        print(f"{name:18}{new:10.1f}{forked:10.1f}{new / forked:10.1f}")


def main() -> None:
    """Read the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    asyncio.run(compare(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
