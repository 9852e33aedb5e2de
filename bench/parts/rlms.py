"""Runs the peer `rlms`: `rlms.py URL TURNS [FILE]`, in an environment that has it.

It prints when it is asked, by `time.perf_counter`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rlm import RLM  # type: ignore[import-not-found]  # in another environment

url, turns = sys.argv[1], int(sys.argv[2])
peer = RLM(
    backend="openai",
    backend_kwargs={"model_name": "root", "base_url": url, "api_key": "none"},
    other_backends=["openai"],
    other_backend_kwargs=[{"model_name": "sub", "base_url": url, "api_key": "none"}],
    max_iterations=turns + 1,
    max_depth=1,
)
print(time.perf_counter())
context = Path(sys.argv[3]).read_text(encoding="utf-8") if len(sys.argv) > 3 else "abc"
peer.completion(context, root_prompt="Go.")
