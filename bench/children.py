"""What a child over its parent's context costs: its start, its first cell, and the memory of ten of them at once.

    python bench/children.py [--sizes 14 1000] [--rounds 3] [--children 10]

The models answer at once, from a script in this process. *Start* is from the reply of the parent's model, whose code
asks the child, to the child's first request; *first cell* from the child's first reply, whose code counts a word in the
whole of its context, to its second request. Beside it: the same with a context of one word, which is what a child costs
at all, and, of a small one, with the text handed over as one of the code's own, which has to travel. Memory is
the proportional set size of all processes that have the text mapped, as the kernel counts it, while all children have
run a cell over it; to read it of processes that may not be looked into, run this as root.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from langchain_core.messages import BaseMessage

from rlm_graph import AgentOptions, Budget, Caps, ContextStore, create_rlm_agent
from rlm_graph.state import ContextRef
from rlm_graph.testing import ScriptedModel

LINES = {
    "ascii": "2026-01-01 00:00:00 INFO a line of a log that says little, 0123456789\n",
    "mixed": "2026-01-01 00:00:00 INFO a line of a log, naïve 日本語 🦜\n",
}
LOOK = {"ascii": "context.count('zebra')", "mixed": "len(ctx.find('zebra'))"}
"""What a child does with its text: as a `str`, or, beyond ASCII, where it lies."""
CHILD = "How many zebras?"
SMALL_MB = 100
"""Of a context that is also handed over as a text of the code's own, for which a REPL needs several times its size."""


class Play:
    """The models of a run, and when each was asked what."""

    def __init__(self, ask: str, look: str, children: int) -> None:
        self._ask, self._look, self._children = ask, look, children
        self.asked: list[float] = []
        """When the parent's model gave the reply whose code asks the children."""
        self.began: list[float] = []
        self.looked: list[float] = []
        self.bytes = 0
        """Of all that have the text mapped, once all children have looked at it."""
        self.text: Path | None = None

    def reply(self, messages: Sequence[BaseMessage]) -> str:
        said = "\n".join(str(message.content) for message in messages)
        turns = sum(message.type == "ai" for message in messages)
        if CHILD in said:
            return self._child(turns)
        if turns == 0:
            return "```repl\nready = len(ctx)\n```"  # the parent's sandbox starts here
        self.asked.append(time.perf_counter())
        return f"```repl\nFINAL({self._ask})\n```"

    def _child(self, turns: int) -> str:
        now = time.perf_counter()
        if turns == 0:
            self.began.append(now)
            return f"```repl\nfound = {self._look}\n```"
        if turns == 1:
            self.looked.append(now)
        if len(self.looked) < self._children:
            return "```repl\nimport time\ntime.sleep(0.05)\n```"
        if self.text is not None and not self.bytes:
            self.bytes = memory_of_all(self.text)
        return "```repl\nFINAL('none')\n```"


def memory_of_all(text: Path) -> int:
    """Return the proportional set size of all processes that have the file mapped."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(text) in (process / "maps").read_text():
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
        except OSError:
            continue
    return total


async def run(store: ContextStore, context: ContextRef | str, play: Play) -> None:
    model = ScriptedModel(play.reply)
    agent = create_rlm_agent(
        model,
        budget=Budget(max_turns=60, max_subcalls=None, timeout_s=None),
        options=AgentOptions(caps=Caps(max_turns=None, max_subcalls=None, timeout_s=None), contexts=store),
    )
    given: Any = {"question": "Ask.", "context": context}
    result = await agent.ainvoke(given)
    if not result["answer"].complete:
        raise RuntimeError(f"the parent has no answer; it was told: {model.calls[-1][-1].text[-1000:]}")


def times(
    store: ContextStore, context: ContextRef | str, ask: str, look: str, rounds: int
) -> tuple[list[float], list[float]]:
    """Return the milliseconds until a child's first request, and those of its first cell, of each round."""
    starts, cells = [], []
    for _ in range(rounds):
        play = Play(ask, look, 1)
        asyncio.run(run(store, context, play))
        starts.append(1000 * (play.began[0] - play.asked[0]))
        cells.append(1000 * (play.looked[0] - play.began[0]))
    return starts, cells


def shown(found: list[float], bare: list[float]) -> tuple[str, str]:
    return f"{median(found):.1f} ({min(found):.1f}-{max(found):.1f})", f"x {median(found) / median(bare):.2f}"


def rows(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Yield the table, a row at a time as it is measured."""
    yield "context of the child", "start, ms", "beside one word", "first cell, ms", "beside one word"
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="rlm-graph-bench-") as folder:
        store = ContextStore(Path(folder) / "store")
        ask = f"rlm_query({CHILD!r}, 'word')"
        times(store, "a context", ask, LOOK["ascii"], 1)
        bare = times(store, "a context", ask, LOOK["ascii"], options.rounds)
        yield "one word", shown(bare[0], bare[0])[0], "", shown(bare[1], bare[1])[0], ""
        for megabytes in options.sizes:
            for kind, line in LINES.items():
                source = Path(folder) / "source.txt"
                with source.open("wb") as file:
                    for _ in range(megabytes):
                        file.write(line.encode() * (1_000_000 // len(line.encode())))
                context = store.take(source)
                source.unlink()
                handings = {
                    "whole": f"rlm_query({CHILD!r}, {'context' if kind == 'ascii' else 'ctx'})",
                    "a chunk": f"rlm_query_batched([{CHILD!r}], ctx.chunk(len(ctx) // 4)[1:2])",
                }
                if kind == "ascii":
                    handings["half"] = f"rlm_query({CHILD!r}, ctx.slice(len(ctx) // 4, len(ctx) // 4 * 3))"
                if megabytes <= SMALL_MB:
                    handings["its own text"] = f"rlm_query({CHILD!r}, 'x' + ctx.slice())"
                for what, code in handings.items():
                    found = times(store, context, code, LOOK[kind], options.rounds)
                    cells = [cell for got, least in zip(found, bare, strict=True) for cell in shown(got, least)]
                    yield f"{megabytes} MB, {kind}, {what}", *cells
                play = Play(
                    f"len(rlm_query_batched([{CHILD!r}] * {options.children}, "
                    f"[{'context' if kind == 'ascii' else 'ctx'}] * {options.children}))",
                    LOOK[kind],
                    options.children,
                )
                play.text = store.folder(context) / "text"
                asyncio.run(run(store, context, play))
                ratio = play.bytes / context.bytes
                told = (
                    f"{play.bytes / 1e6:,.0f} MB, x {ratio:.2f} the text"
                    if play.bytes
                    else "not to be read: run as root"
                )
                yield f"{megabytes} MB, {kind}, memory of {options.children}", told, "", "", ""
                store.forget(context)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[14, 1000], metavar="MB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--children", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure; by default the temporary one")
    for row in rows(parser.parse_args()):
        print(" ".join(cell.rjust(width) for cell, width in zip(row, (34, 24, 16, 24, 16), strict=True)), flush=True)


if __name__ == "__main__":
    main()
