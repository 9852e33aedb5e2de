"""Runs the peer `rlms`: `rlms.py URL TURNS [RUNS [FILE]]`, in an environment that has it, several runs in threads.

It prints when it is asked, by `time.perf_counter`, and in the end the seconds of processor time that it took.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from rlm import RLM  # type: ignore[import-not-found]  # in another environment

url, turns = sys.argv[1], int(sys.argv[2])
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 1


def run(_: int) -> None:
    """Take all turns of one run."""
    peer = RLM(
        backend="openai",
        backend_kwargs={"model_name": "root", "base_url": url, "api_key": "none"},
        other_backends=["openai"],
        other_backend_kwargs=[{"model_name": "sub", "base_url": url, "api_key": "none"}],
        max_iterations=turns + 1,
        max_depth=1,
    )
    if runs == 1:
        os.write(1, f"{time.perf_counter()}\n".encode())
    context = Path(sys.argv[4]).read_text(encoding="utf-8") if len(sys.argv) > 4 else "abc"
    peer.completion(context, root_prompt="Go.")


before = time.process_time()
if runs == 1:
    run(0)
else:
    # A run that ends because another had its output counts with the replies that it got.
    with ThreadPoolExecutor(runs) as pool:
        wait([pool.submit(run, number) for number in range(runs)])
# Its threads put the standard output of the whole process aside, and one may have put back another's.
os.write(1, f"\n{time.process_time() - before}\n".encode())
