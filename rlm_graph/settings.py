"""What can be set, and what holds when nothing is set. Every default lives here or in `Budget`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from rlm_graph.value import Value


class LocalSettings(Value):
    """A confined CPython process on this machine."""

    kind: Literal["local"] = "local"
    unsafe: bool = False
    """Run even where the kernel cannot confine the process. The code then has the user's own rights."""
    memory_bytes: PositiveInt = 4 << 30
    """Address space of the worker, beyond the size of the contexts."""
    max_file_bytes: PositiveInt = 256 << 20
    """The largest file that code may write to its scratch folder."""
    max_threads: PositiveInt = 64
    cell_timeout_s: PositiveFloat = 60.0
    """Seconds a cell may compute; waiting for sub-calls does not count."""
    max_output_bytes: PositiveInt = 1 << 20
    """Bytes of one cell's output that are kept, half from its head and half from its tail."""
    idle_timeout_s: PositiveFloat = 900.0
    """Seconds without a host after which a REPL ends itself."""


ExecutorSettings = LocalSettings
"""The union of all executors' settings, told apart by `kind`."""


class ModelSettings(Value):
    """How models are reached. Keys come from the environment alone and are never stored."""

    base_url: str | None = None
    """Of an OpenAI-compatible server; `LLM_BASE_URL` and `OPENAI_BASE_URL` set it too."""
    temperature: float | None = None
    max_retries: int = 3
    """Further tries after a failure that may pass, with growing pauses."""
    request_timeout_s: PositiveFloat = 120.0
    max_concurrency: PositiveInt = 16
    """Sub-calls of one batch that are under way at once."""
    profile: Literal["standard", "small"] | None = None
    """Prompt profile; by default `small` for models on a local server, else `standard`."""
    window_tokens: PositiveInt = 128_000
    """The root model's context window, where litellm does not know it."""


def data_dir() -> Path:
    """Where runs and contexts are kept unless told otherwise: `RLM_DATA_DIR`, or the user's data folder."""
    import os

    import platformdirs

    return Path(os.environ.get("RLM_DATA_DIR") or platformdirs.user_data_dir("rlm-graph", appauthor=False))
