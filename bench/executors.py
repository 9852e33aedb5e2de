"""What a sandboxed REPL costs, beside a bare `python` that reads code from its standard input, in the same run.

    python bench/executors.py [--executors local docker ...] [--docker-image NAME] [--rounds 5] [--sizes 100 1000]

For each: from nothing to the end of the first cell, a further cell, a call of a host function, and giving the REPL a
context of so many MB until code has taken its length. Times are medians of the rounds, ratios are to the bare REPL's.
An executor that cannot run here is told and left out; one that refuses a context has no figure for it. Without a key of
E2B's in the environment, `e2b double` is measured in its place: a server on loopback that answers the genuine SDK like
the cloud, and runs the sandboxes as processes of this machine. It shows what we and the SDK take, and nothing of the
cloud's own times or of the way there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Protocol

from rlm_graph.context import ContextStore
from rlm_graph.errors import ExecutorError, RLMError
from rlm_graph.executors import create_executor
from rlm_graph.executors.base import CallResult, Executor, HostCall, Repl
from rlm_graph.settings import DockerSettings, E2BSettings
from rlm_graph.state import Cell, ContextRef

LINE = "2026-01-01 00:00:00 INFO a line of a log that says little, 0123456789\n"

BARE = """
import json, sys

def llm_query(prompt):
    print(json.dumps({"call": prompt}), flush=True)
    return json.loads(sys.stdin.readline())["value"]

names = {"llm_query": llm_query}
for line in sys.stdin:
    given = json.loads(line)
    if "file" in given:
        with open(given["file"], encoding="utf-8", newline="") as file:
            names["context"] = file.read()
    else:
        exec(given["code"], names)
    print(json.dumps({"done": True}), flush=True)
"""


class Session(Protocol):
    """A REPL to be measured."""

    async def run(self, code: str) -> None:
        """Run a cell to its end."""

    async def give(self, ref: ContextRef, folder: Path) -> None:
        """Bind `context`."""


class Place(Protocol):
    """Where sessions are opened."""

    def session(self) -> AbstractAsyncContextManager[Session]:
        """Start a REPL; leaving the context ends it."""


class BareSession:
    """A loop that does nothing but what cannot be left out: no sandbox, no limits, no record of what it did."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    async def run(self, code: str) -> None:
        await self._tell({"code": code})

    async def give(self, ref: ContextRef, folder: Path) -> None:
        await self._tell({"file": str(folder / "text")})

    async def _tell(self, message: dict[str, str]) -> None:
        self._send(message)
        while "done" not in json.loads(await self._stdout.readline()):
            self._send({"value": "yes"})

    def _send(self, message: dict[str, str]) -> None:
        self._stdin.write(json.dumps(message).encode() + b"\n")


class BarePlace:
    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE, stdin=pipe, stdout=pipe)
        try:
            yield BareSession(process)
        finally:
            process.kill()
            await process.communicate()


class ExecutorSession:
    def __init__(self, repl: Repl) -> None:
        self._repl = repl
        self._number = 0

    async def run(self, code: str) -> None:
        self._number += 1
        execution = await self._repl.run(Cell(code=code), number=self._number, serve=yes, timeout_s=600)
        if execution.status != "ok":
            raise SystemExit(f"a cell failed: {execution.error or execution.status}")

    async def give(self, ref: ContextRef, folder: Path) -> None:
        await self._repl.add_context(1, ref, folder=folder)


class ExecutorPlace:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        async with self._executor.attached(None) as repl:
            try:
                yield ExecutorSession(repl)
            finally:
                await self._executor.close(repl.handle)


def places(options: argparse.Namespace, stack: ExitStack) -> dict[str, Place]:
    """Return where to measure, by the name of its column. What has to be ended afterwards goes on the stack."""
    found: dict[str, Place] = {"bare": BarePlace()}
    for kind in options.executors:
        if kind == "docker" and options.docker_image:
            settings = DockerSettings(image=options.docker_image, pull=False)
            found[kind] = ExecutorPlace(create_executor(settings))
        elif kind == "e2b" and "E2B_API_KEY" not in os.environ:
            found["e2b double"] = ExecutorPlace(create_executor(e2b_double(stack)))
        else:
            found[kind] = ExecutorPlace(create_executor(kind))
    return found


def e2b_double(stack: ExitStack) -> E2BSettings:
    """Start the double of the cloud that the tests have, and return the settings that lead there."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.executors.e2b_double.server import KEY, E2BDouble

    os.environ["E2B_API_KEY"] = KEY
    url = stack.enter_context(E2BDouble()).url
    return E2BSettings(api_url=url, sandbox_url=url)


async def yes(call: HostCall) -> CallResult:
    """Answer a call at once."""
    return CallResult(value="yes")


async def seconds(work: Awaitable[object]) -> float:
    """Wait for it and return how long that took."""
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


async def measure(
    place: Place, store: ContextStore, contexts: dict[int, ContextRef], options: argparse.Namespace
) -> dict[str, float]:
    """Return the seconds of everything that is measured, once."""
    times: dict[str, float] = {}
    started = time.perf_counter()
    async with place.session() as session:
        await session.run("x = 0")
        times["start, first cell"] = time.perf_counter() - started
        times["cell"] = median([await seconds(session.run("x += 1")) for _ in range(options.cells)])
        calls = await seconds(session.run(f"for number in range({options.calls}): llm_query(str(number))"))
        times["host call"] = calls / options.calls
    for megabytes, ref in contexts.items():
        async with place.session() as session:
            await session.run("x = 0")
            try:
                given = await seconds(session.add_context(ref, store.folder(ref)))
            except ExecutorError as error:
                print(f"a context of {megabytes} MB: {error}", file=sys.stderr)
                continue
            times[f"context {megabytes} MB"] = given + await seconds(session.run("x = len(context)"))
    return times


async def compare(options: argparse.Namespace) -> None:
    """Measure all places in turn, round by round, and print the table."""
    with ExitStack() as stack:
        chosen = places(options, stack)
        rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in chosen}
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rlm-graph-bench-"))
        store = ContextStore(Path(folder))
        contexts = {size: store.take(LINE * (size * 1_000_000 // len(LINE))) for size in options.sizes}
        for _ in range(options.rounds):
            for kind, place in list(chosen.items()):
                try:
                    rounds[kind].append(await measure(place, store, contexts, options))
                except RLMError as error:
                    print(f"{kind}: {error}", file=sys.stderr)
                    del chosen[kind], rounds[kind]
    show(rounds)


def show(rounds: dict[str, list[dict[str, float]]]) -> None:
    """Print a line for everything that was measured, with a column for each place."""
    print(f"{'ms':18}", *(f"{kind:>22}" for kind in rounds), sep="")
    for name in rounds["bare"][0]:
        cells = []
        for kind, measured in rounds.items():
            if not all(name in times for times in measured):
                cells.append("refused")
                continue
            time_ms = 1000 * median(times[name] for times in measured)
            ratios = (times[name] / bare[name] for times, bare in zip(measured, rounds["bare"], strict=True))
            cells.append(f"{time_ms:.2f}" if kind == "bare" else f"{time_ms:.2f}  (x {median(ratios):.1f})")
        print(f"{name:18}", *(f"{cell:>22}" for cell in cells), sep="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--executors", nargs="+", default=["local", "docker", "pyodide", "e2b"], metavar="KIND")
    parser.add_argument("--docker-image", metavar="NAME", help="one that the daemon has, in place of the usual one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000], metavar="MB")
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
