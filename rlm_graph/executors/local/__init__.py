"""Code runs in a confined process of this machine."""

from rlm_graph.executors.local.executor import LocalExecutor as LocalExecutor
