"""The Docker executor shows every behaviour on the list, and what concerns containers besides."""

from __future__ import annotations

import pytest

from rlm_graph.executors.conformance import ExecutorConformance
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.settings import DockerSettings


@pytest.mark.docker
class TestDockerExecutor(ExecutorConformance):
    @pytest.fixture
    def executor(self, docker_image: str) -> DockerExecutor:
        return DockerExecutor(DockerSettings(image=docker_image, pull=False))
