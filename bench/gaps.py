"""For how long what code makes stops the event loop of its host, and what the database holds of it.

    python bench/gaps.py [--mb 100] [CASE ...]

A task beside the run wakes every 2 ms and notes how much processor time this process has used since: where that is
much, something ran that let nothing else run, on the loop or in a thread that held Python's lock. Time that other
programs take is not in it. The model is scripted and in the same process, so that a case in which it says much
(`reply`) shows that too; no model says a hundredth of it. Each case runs in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from pydantic import BaseModel

from rlm_graph import AgentOptions, LocalSettings, create_rlm_agent
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.testing import ScriptedModel

MB = 1 << 20
CASES = {
    "final": "FINAL('x' * {size})",
    "values": "FINAL([['%d' % n, n] for n in range(160_000)])",
    "typed": "FINAL({{'text': 'x' * {size}}})",
    "child": "FINAL(len(rlm_query('child')))",
    "prompt": "llm_query('x' * {size})\nFINAL('ok')",
    "batch": "llm_query_batched(['%d' % n + 'x' * 200_000 for n in range({size} // 200_000)])\nFINAL('ok')",
    "context": "FINAL(rlm_query('small child', context='z' * {size}))",
    "reply": "FINAL(len(llm_query('much')))",
    "arguments": "FINAL(len(same(rows=[[n, n] for n in range(150_000)])))",
}


class Long(BaseModel):
    """The form of a typed answer."""

    text: str


def same(rows: list[Any]) -> list[Any]:
    """Return the rows."""
    return rows


def model(code: str, size: int) -> ScriptedModel:
    """Return a model that is the root, the agent below and the sub-model, told apart by what it is asked."""
    much = "r" * size

    def answer(messages: Sequence[Any]) -> str:
        told = "\n".join(str(message.content) for message in messages)
        if len(messages) == 1:
            return much if told == "much" else "ok"
        below = "FINAL('ok')" if "small child" in told else f"FINAL('c' * {size})"
        return f"```repl\n{code if 'Q?' in told else below}\n```"

    return ScriptedModel(answer)


async def measured(name: str, size: int) -> None:
    """Run a case and print its line."""
    steps: list[float] = []

    async def wake() -> None:
        before = time.process_time()
        while True:
            await asyncio.sleep(0.002)
            now = time.process_time()
            steps.append(now - before)
            before = now

    with tempfile.TemporaryDirectory(prefix="rlm-gaps-") as place:
        folder = Path(place)
        async with AsyncSqliteSaver.from_conn_string(str(folder / "runs.sqlite")) as saver:
            scripted = model(CASES[name].format(size=size), size)
            agent = create_rlm_agent(
                scripted,
                sub_model=scripted,
                tools=[same],
                checkpointer=saver,
                executor=LocalExecutor(LocalSettings(cell_timeout_s=300), folder=folder / "repls"),
                response_format=Long if name == "typed" else None,
                options=AgentOptions(contexts=folder / "contexts"),
            )
            waking = asyncio.ensure_future(wake())
            await agent.ainvoke({"question": "Q?"}, {"configurable": {"thread_id": "1"}})
            waking.cancel()
            kept = sum(path.stat().st_size for path in folder.glob("runs.sqlite*"))  # noqa: ASYNC240  # nothing else runs
        longest = sorted(steps)[-3:]
    shown = " ".join(f"{1000 * step:6.0f}" for step in reversed(longest))
    print(f"{name:12} longest, ms of processor time: {shown}    database: {kept / MB:6.1f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--mb", type=int, default=100, help="size of what is made")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for name in given.cases or CASES:
        if given.here:
            asyncio.run(measured(name, given.mb * MB))
        else:
            subprocess.run([sys.executable, __file__, name, "--mb", str(given.mb), "--here"], check=True)


if __name__ == "__main__":
    main()
