"""What a call that code makes costs besides the model: in a loop, in a batch of a thousand, from sixty threads.

    python bench/calls.py [--rounds 3] [--calls 200] [--batch 1000]

The model of the first loop answers at once, all others after 50 ms, in a process of its own, which notes when each
request came and when its reply left. All settings are the defaults, but that the first loop and `one by one` go
without `batch_loops`: they show what a call costs alone. Beside the engine on its own saver: the same on LangGraph's,
the same with nothing recorded, the peer `rlms`, which records nothing, and aiohttp with nothing around it. Medians over
the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median

from parts import engine, peers
from parts.provider import Exchange, Provider, Script, provider

END = "\nFINAL('ok')\n```\nFINAL(ok)"
LOOP = "```repl\nfor n in range({calls}):\n    llm_query(f'Is {{n}} odd?')" + END
FORESEEN = "```repl\nanswers = [llm_query(f'Is {{n}} odd?') for n in range({calls})]" + END
BATCH = "```repl\nanswers = llm_query_batched([f'Is {{n}} odd?' for n in range({calls})])" + END
THREADS = (
    "```repl\nfrom concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(60) as pool:\n"
    "    answers = list(pool.map(llm_query, [f'Is {{n}} odd?' for n in range({calls})]))" + END
)


def between(exchanges: Sequence[Exchange]) -> float:
    """Return the median of the milliseconds between a reply and the next request."""
    return median(1000 * (later.came - one.left) for one, later in itertools.pairwise(exchanges))


def whole(exchanges: Sequence[Exchange]) -> float:
    """Return the seconds from the first request to the last reply."""
    return max(each.left for each in exchanges) - min(each.came for each in exchanges)


async def bare(asked: Provider, calls: int) -> None:
    """Make all requests at once, with aiohttp alone."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(number: int) -> None:
            body = {"model": "sub", "messages": [{"role": "user", "content": f"Is {number} odd?"}]}
            async with session.post(f"{asked.url}/chat/completions", json=body) as response:
                await response.json()

        await asyncio.gather(*map(one, range(calls)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=200, help="of the loop")
    parser.add_argument("--batch", type=int, default=1000, help="prompts of the batch, and calls of the threads")
    options = parser.parse_args(arguments)
    rows: dict[str, tuple[Script, Callable[[Sequence[Exchange]], float], int]] = {
        "ms, one of a loop": (Script(root=[LOOP.format(calls=options.calls)]), between, options.calls),
        f"s, a loop of {options.calls}": (
            Script(root=[FORESEEN.format(calls=options.calls)], delay_s=0.05), whole, options.calls,
        ),
        f"s, a batch of {options.calls}": (
            Script(root=[BATCH.format(calls=options.calls)], delay_s=0.05), whole, options.calls,
        ),
        f"s, a batch of {options.batch}": (
            Script(root=[BATCH.format(calls=options.batch)], delay_s=0.05), whole, options.batch,
        ),
        f"s, {options.batch} from 60 threads": (
            Script(root=[THREADS.format(calls=options.batch)], delay_s=0.05), whole, options.batch,
        ),
    }  # fmt: skip
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    kept: dict[str, float] = {}
    with provider() as asked:
        for _ in range(options.rounds):
            for title, (script, figure, calls) in rows.items():
                for kind in engine.SAVERS:
                    asked.follow(script)
                    size = engine.run(asked.url, 1, kind, batch_loops=figure is whole)
                    if kind == "ours":
                        kept[title] = size / calls / 1000
                    found[title][kind].append(figure(asked.exchanges()["sub"]))
                if "a loop" in title and figure is whole:
                    asked.follow(script)
                    engine.run(asked.url, 1, "ours", batch_loops=False)
                    found[title]["one by one"].append(figure(asked.exchanges()["sub"]))
                for peer in peers.PEERS:
                    asked.follow(script)
                    if peers.run(peer, asked.url, 1):
                        found[title][peer].append(figure(asked.exchanges()["sub"]))
                if figure is whole:
                    asked.follow(script)
                    started = time.perf_counter()
                    asyncio.run(bare(asked, calls))
                    found[title]["aiohttp alone"].append(time.perf_counter() - started)
    for title, by_kind in found.items():
        print(title)
        for kind, figures in by_kind.items():
            ratio = median(figures) / median(by_kind["ours"])
            print(f"    {kind:16} {median(figures):9.2f}  ({min(figures):.2f}-{max(figures):.2f}, x {ratio:.2f})")
        print(f"    {'the database':16} {kept[title]:9.1f}  kB a call")


if __name__ == "__main__":
    main()
