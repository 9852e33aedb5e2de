"""What a long context costs: from the question to the first request, and from its reply to the end of the first cell.

    python bench/contexts.py [--mb 1000] [--rounds 3] [--folder DIR] [--kinds ascii mixed]

The model answers at once, in a process of its own, and its first reply looks into the context. Each question is asked
in a new process: of the library, which has loaded the engine before it is asked, and by `rlm-graph run`, of which all
of the start is in the figure. `3 bytes` is the same with a context that takes no time. Beside the engine: the limit,
which is one pass over the file that copies it, hashes it and waits for the disk; and the peer `rlms`, which reads the
file and keeps it in memory. The file is in the page cache. Figures are medians.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from parts import engine, peers
from parts.provider import Exchange, Provider, Script, provider

from rlm_graph.context import ContextStore

LINES = {
    "ascii": "2026-01-01 00:00:00 INFO a line of a log that says little, 0123456789\n",
    "mixed": "2026-01-01 00:00:00 INFO a line of a log, naïve 日本語 🦜\n",
    "japanese": "ポンプが停止しました。原因はまだ分かりません。\n",
}
LOOKS = Script(root=["```repl\nprint(len(ctx), ctx.slice(0, 40))\n```", "```repl\nFINAL('ok')\n```"])
PEER_LOOKS = Script(root=["```repl\nprint(len(context), context[:40])\n```", "FINAL(ok)"])
Row = dict[str, list[float]]


def write_file(path: Path, line: str, megabytes: int) -> None:
    """Fill `path` with whole lines, up to a size."""
    block = (line * (1_000_000 // len(line.encode()))).encode()
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(block)


def copy_and_hash(source: Path, copy: Path) -> None:
    """Do in one pass what taking a file in cannot do without, and return once the copy is on the disk."""
    digest = hashlib.sha256()
    with source.open("rb", buffering=0) as file, copy.open("wb", buffering=0) as to:
        while block := file.read(1 << 20):
            digest.update(block)
            to.write(block)
        os.fsync(to.fileno())
    copy.unlink()


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """Run it and return how long it took, and how much of a processor."""
    began, worked = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - began, time.process_time() - worked


def measure_store(source: Path, folder: Path, found: Row, *, limit_first: bool) -> None:
    """Take the file into an empty store, and the limit, in one order or the other."""
    store = ContextStore(folder / "store")
    measured = {
        "copy and hash": lambda: copy_and_hash(source, folder / "copy"),
        "taken in": lambda: store.forget(store.take(source)),
    }
    copy_and_hash(source, folder / "copy")  # whoever comes first has to find the memory for a copy
    for title in measured if limit_first else reversed(measured):
        wall_s, cpu_s = seconds(measured[title])
        found[f"{title}: s"].append(wall_s)
        found[f"{title}: CPU s"].append(cpu_s)
    store.take(source)
    found["taken in again: s"].append(seconds(lambda: store.take(source))[0])
    store.forget(store.take(source))


def measure_library(asked: Provider, source: Path, folder: Path, found: Row) -> None:
    """Ask a question from Python."""
    asked.follow(LOOKS)
    program = Path(__file__).parent / "parts" / "over_file.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, program, asked.url, source, folder]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    note("ainvoke", told["asked"], asked.exchanges()["root"], found)
    found["peak of the host: MB"].append(told["peak_mb"])


def measure_command(asked: Provider, source: Path, folder: Path, found: Row) -> None:
    """Ask a question on the command line."""
    asked.follow(LOOKS)
    command = [sys.executable, "-m", "rlm_graph", "run", "Go.", "-c", source, "-m", "openai/root", "-q"]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--base-url", asked.url],
        env={**os.environ, "RLM_DATA_DIR": str(folder / "data")}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    note("run", began, asked.exchanges()["root"], found)


def measure_peers(asked: Provider, source: Path, found: Row) -> None:
    """Ask the peers."""
    for peer in peers.PEERS:
        asked.follow(PEER_LOOKS)
        began = peers.run_over(peer, asked.url, source)
        if began is not None:
            note(peer, began, asked.exchanges()["root"], found)


def note(who: str, began: float, exchanges: Sequence[Exchange], found: Row) -> None:
    """Note the two figures of one question."""
    found[f"{who}: first call, s"].append(exchanges[0].came - began)
    found[f"{who}: first cell, s"].append(exchanges[1].came - exchanges[0].left)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure; by default the temporary one")
    parser.add_argument("--kinds", nargs="+", choices=list(LINES), default=["ascii", "mixed"])
    options = parser.parse_args(arguments)
    engine.prepare()
    found: dict[str, Row] = defaultdict(lambda: defaultdict(list))
    with provider() as asked:
        for name in ("3 bytes", *options.kinds):
            for number in range(options.rounds):
                with tempfile.TemporaryDirectory(dir=options.folder, prefix="rlm-graph-bench-") as made:
                    folder, source = Path(made), Path(made) / "source.txt"
                    source.write_text("abc")
                    if name in LINES:
                        write_file(source, LINES[name], options.mb)
                        os.sync()  # what is measured next does not wait for it
                    measure_store(source, folder, found[name], limit_first=number % 2 == 0)
                    measure_library(asked, source, folder, found[name])
                    measure_command(asked, source, folder, found[name])
                    measure_peers(asked, source, found[name])
    for name, row in found.items():
        print(name if name not in LINES else f"{options.mb} MB, {name}")
        limit = median(row["copy and hash: s"])
        for title, figures in row.items():
            ratio = f", x {median(figures) / limit:.2f}" if title.endswith(" s") and name in LINES else ""
            print(f"    {title:24} {median(figures):9.2f}  ({min(figures):.2f}-{max(figures):.2f}{ratio})")


if __name__ == "__main__":
    main()
