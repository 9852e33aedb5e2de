"""REPLs in sandboxes of E2B, or of a server that speaks like it."""

from rlm_graph.executors.e2b.executor import E2BExecutor

__all__ = ["E2BExecutor"]
