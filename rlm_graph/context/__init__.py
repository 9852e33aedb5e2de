"""The long input: where it lies, its hash, size and shape.

`store` is what the rest of the engine uses; `sources` knows what a caller may give, `fetch` gets a URL, `encoding`
turns bytes into UTF-8, `draft` writes the stored form, `memory` tells whether a REPL can hold it, and `encrypted` is a
store whose files are encrypted.
"""

from __future__ import annotations

from rlm_graph.context.store import ContextStore

__all__ = ["ContextStore"]
