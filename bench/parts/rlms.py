"""Runs the peer `rlms`: `rlms.py URL TURNS`, in an environment that has it."""

from __future__ import annotations

import sys

from rlm import RLM  # type: ignore[import-not-found]  # in another environment

url, turns = sys.argv[1], int(sys.argv[2])
RLM(
    backend="openai",
    backend_kwargs={"model_name": "root", "base_url": url, "api_key": "none"},
    other_backends=["openai"],
    other_backend_kwargs=[{"model_name": "sub", "base_url": url, "api_key": "none"}],
    max_iterations=turns + 1,
    max_depth=1,
).completion("abc", root_prompt="Go.")
