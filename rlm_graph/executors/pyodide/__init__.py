"""Python in WebAssembly: needs no kernel's help to be safe, and has no threads, no processes and no packages."""

from rlm_graph.executors.pyodide.executor import PyodideExecutor

__all__ = ["PyodideExecutor"]
