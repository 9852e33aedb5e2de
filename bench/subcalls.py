"""What it costs that each call which code makes to a model is recorded, beside the same call with no graph around it.

    python bench/subcalls.py [--calls 200] [--rounds 3]

The model answers at once, in this process, so all that is measured is ours and LangGraph's. Times are medians in
milliseconds per call, ratios are to the plain call of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_config
from langgraph.graph import START, StateGraph

from rlm_graph import runnables
from rlm_graph.budget import Budget, Usage
from rlm_graph.calls.subcalls import Subcalls
from rlm_graph.executors.base import HostCall
from rlm_graph.graphs.subcall import create_subcall
from rlm_graph.ledger import Ledger
from rlm_graph.models import ask, retry_policy
from rlm_graph.settings import ModelSettings
from rlm_graph.state import STORED_TYPES
from rlm_graph.testing import ScriptedModel

Timings = dict[str, float]
"""Seconds per call, by the way it was made."""

WAYS = ("plain", "leaf", "leaf again", "batch", "batch again")
"""`again` is the same call made a second time, as after a crash: it is answered from the record."""


class Nothing(TypedDict):
    """The state of a graph that only measures."""

    done: bool


async def measured(state: Nothing, *, calls: int, timings: Timings) -> dict[str, Any]:
    """As a node: make the calls in each way."""
    model = ScriptedModel(lambda messages: "yes")
    settings = ModelSettings(max_concurrency=16)
    subcalls = Subcalls(
        create_subcall({None: model}, retry=retry_policy(settings)), max_concurrency=settings.max_concurrency
    )
    ledger = Ledger(Budget(max_cost_usd=None, timeout_s=None), Usage())
    scope = subcalls.within(ledger, get_config())
    prompts = [f"Is {number} a number?" for number in range(calls)]

    started = time.perf_counter()
    for prompt in prompts:
        await ask(model, [HumanMessage(prompt)], config={})
    timings["plain"] = (time.perf_counter() - started) / calls

    for way in ("leaf", "leaf again"):
        started = time.perf_counter()
        for number, prompt in enumerate(prompts):
            await scope.serve(1, HostCall(id=number, function="llm_query", arguments={"prompt": prompt}, nth=0))
        timings[way] = (time.perf_counter() - started) / calls

    for way in ("batch", "batch again"):
        started = time.perf_counter()
        await scope.serve(
            2, HostCall(id=calls, function="llm_query_batched", arguments={"prompts": list(prompts)}, nth=0)
        )
        timings[way] = (time.perf_counter() - started) / calls
    return {"done": True}


def measuring_graph(saver: BaseCheckpointSaver[Any], calls: int, timings: Timings) -> Any:
    """Return a graph of that one node."""
    graph = StateGraph(Nothing)
    graph.add_node("measured", runnables.node(measured, calls=calls, timings=timings))
    graph.add_edge(START, "measured")
    saver.serde = JsonPlusSerializer(allowed_msgpack_modules=STORED_TYPES)
    return graph.compile(checkpointer=saver)


CONFIG = {"configurable": {"thread_id": "bench"}}


def under_invoke(open_saver: Callable[[], Any], calls: int) -> Timings:
    """Measure with `invoke` and a synchronous saver."""
    timings: Timings = {}
    with open_saver() as saver:
        measuring_graph(saver, calls, timings).invoke({"done": False}, CONFIG, durability="sync")
    return timings


def under_ainvoke(open_saver: Callable[[], Any], calls: int) -> Timings:
    """Measure with `ainvoke` and an asynchronous saver."""
    timings: Timings = {}

    async def run() -> None:
        async with open_saver() as saver:
            await measuring_graph(saver, calls, timings).ainvoke({"done": False}, CONFIG, durability="sync")

    asyncio.run(run())
    return timings


@contextmanager
def sqlite() -> Iterator[SqliteSaver]:
    with tempfile.TemporaryDirectory() as folder, SqliteSaver.from_conn_string(str(Path(folder, "runs"))) as saver:
        yield saver


@asynccontextmanager
async def async_sqlite() -> AsyncIterator[AsyncSqliteSaver]:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncSqliteSaver.from_conn_string(str(Path(folder, "runs"))) as saver:
            yield saver


PLACES: dict[str, Callable[[int], Timings]] = {
    "ainvoke, InMemorySaver": lambda calls: under_ainvoke(InMemorySaver, calls),
    "ainvoke, AsyncSqliteSaver": lambda calls: under_ainvoke(async_sqlite, calls),
    "invoke, InMemorySaver": lambda calls: under_invoke(InMemorySaver, calls),
    "invoke, SqliteSaver": lambda calls: under_invoke(sqlite, calls),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=200, help="calls of each kind, and prompts of the batch")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    under_ainvoke(InMemorySaver, 2)  # what is imported at the first use is not what a call costs

    print("".join([f"{'ms per call':28}", f"{WAYS[0]:>10}", *(f"{way:>20}" for way in WAYS[1:])]))
    for place, run in PLACES.items():
        rounds = [run(options.calls) for _ in range(options.rounds)]
        cells = [f"{1000 * median(timings['plain'] for timings in rounds):10.2f}"]
        for way in WAYS[1:]:
            time_ms = 1000 * median(timings[way] for timings in rounds)
            ratio = median(timings[way] / timings["plain"] for timings in rounds)
            cells.append(f"{time_ms:10.2f}  (x {ratio:4.1f})".rjust(20))
        print(f"{place:28}", *cells, sep="", flush=True)


if __name__ == "__main__":
    main()
