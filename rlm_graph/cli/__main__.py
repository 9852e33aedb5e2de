"""`python -m rlm_graph.cli` is `rlm-graph`, where the script is not on the path."""

from __future__ import annotations

from rlm_graph.cli import main

main()
