"""The long input: where it lies, its hash, size and shape.

`store` is what the rest of the engine uses. What a caller may give: `sources` (files, folders, addresses, several at
once), `values` (texts, JSON, tables), `url` and `globs`; each becomes `plans` of `items`. Which files of a folder
count: `folders`, `ignoring`. How bytes become UTF-8: `encoding`, by `binary` (what is no text), `sampling` and
`charsets` (what the bytes are evidence for). `fetch` gets a URL, `draft` writes the stored form, with `lanes` beside
it and what it has `known` left out, `memory` tells whether a REPL can hold it, and `encrypted` keeps it encrypted.
"""

from __future__ import annotations

from rlm_graph.context.sources import Verbatim
from rlm_graph.context.store import ContextStore
from rlm_graph.context.url import URL

__all__ = ["URL", "ContextStore", "Verbatim"]
