"""REPLs in Docker containers, on this machine or another."""

from rlm_graph.executors.docker.executor import DockerExecutor

__all__ = ["DockerExecutor"]
