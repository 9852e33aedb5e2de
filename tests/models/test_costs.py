from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages.ai import UsageMetadata

from rlm_graph.models.costs import _by_litellm, listed_cost
from rlm_graph.models.library import listed_models, load_litellm


def counted(given: int, read: int, kept: int) -> UsageMetadata:
    details = {"cache_read": read, "cache_creation": kept}
    return UsageMetadata(input_tokens=given, output_tokens=7, total_tokens=given + 7, input_token_details=details)


COUNTS = [counted(*counts) for counts in itertools.product((10, 150_000, 250_000, 300_000), (0, 5), (0, 3))]


async def test_what_is_reckoned_here_is_what_litellm_reckons() -> None:
    litellm = load_litellm()
    providers = {"openai", "groq", "deepseek", "openrouter", "together_ai", "xai", "anthropic", "gemini", "cerebras"}
    wrong: dict[str, Any] = {}
    compared = 0
    for name, entry in listed_models().items():
        if entry.get("mode") != "chat" or entry.get("litellm_provider") not in providers:
            continue
        for tokens in COUNTS:
            try:
                theirs = _by_litellm(name, tokens)
            except litellm.BadRequestError:
                break  # a name that litellm lists and does not know without its provider
            compared += 1
            if (ours := await listed_cost(name, entry, tokens)) != pytest.approx(theirs, rel=1e-9, abs=1e-15):
                wrong[name] = (tokens, ours, theirs)

    assert compared > 3000
    assert wrong == {}


def test_a_price_by_the_token_is_reckoned_without_litellm() -> None:
    code = """
import asyncio, sys
from rlm_graph.models.costs import listed_cost
from rlm_graph.models.library import facts
tokens = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
print(asyncio.run(listed_cost("gpt-4o", facts("gpt-4o"), tokens)), "litellm" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["0.0035", "False"]
