"""Taking a context in and loading it, beside a bare `cp` and `sha256sum` of the same file in the same run.

    python bench/context.py [--sizes 1 100 1000] [--rounds 3] [--folder DIR]

Times are medians. What a table from one machine says about another are the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from rlm_graph.context import ContextStore

LINES = {
    "ascii": "2026-01-01 00:00:00 INFO a line of a log that says little, 0123456789\n",
    "mixed": "2026-01-01 00:00:00 INFO a line of a log, naïve 日本語 🦜\n",
}


def write_file(path: Path, line: str, megabytes: int) -> None:
    """Fill `path` with whole lines, up to a size."""
    block = (line * (1_000_000 // len(line.encode()))).encode()
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(block)


def seconds(action: Callable[[], object]) -> float:
    """Run it and return how long it took."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def copy_and_hash(source: Path, copy: Path) -> None:
    """Do with a system's own commands what taking a file in cannot do without."""
    subprocess.run(["cp", source, copy], check=True)
    subprocess.run(["sync", copy], check=True)  # the store does not return either before its data is safe
    subprocess.run(["sha256sum", copy], check=True, stdout=subprocess.DEVNULL)


def measure(folder: Path, kind: str, megabytes: int, rounds: int) -> tuple[float, float, float, float | None]:
    """Return the median seconds of the bare commands, of taking new and known content, and of loading it."""
    source, copy = folder / "source.txt", folder / "copy.txt"
    write_file(source, LINES[kind], megabytes)
    store = ContextStore(folder / "store")
    bare, new, known, loaded = [], [], [], []
    for _ in range(rounds):
        bare.append(seconds(partial(copy_and_hash, source, copy)))
        copy.unlink()
        new.append(seconds(partial(store.take, source)))
        known.append(seconds(partial(store.take, source)))
        ref = store.take(source)
        if store.fits(ref):
            loaded.append(seconds(partial(store.load, ref)))
        store.forget(ref)
    source.unlink()
    return median(bare), median(new), median(known), median(loaded) if loaded else None


def rows(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Yield the table, a row at a time as it is measured."""
    yield "text", "MB", "cp + sync + sha256sum", "take", "ratio", "take known", "ratio", "load", "ratio"
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="rlm-graph-bench-") as folder:
        for kind in LINES:
            for megabytes in options.sizes:
                bare, new, known, loaded = measure(Path(folder), kind, megabytes, options.rounds)
                cells = [cell for time_s in (new, known, loaded) for cell in shown(time_s, bare)]
                yield kind, str(megabytes), f"{bare:.3f} s", *cells


def shown(time_s: float | None, bare: float) -> tuple[str, str]:
    """Return a time and its ratio to the bare commands."""
    return ("too large", "-") if time_s is None else (f"{time_s:.3f} s", f"{time_s / bare:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 100, 1000], metavar="MB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure; by default the temporary one")
    widths = (5, 5, 22, 10, 6, 10, 6, 10, 6)
    for row in rows(parser.parse_args()):
        print(" ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)), flush=True)


if __name__ == "__main__":
    main()
