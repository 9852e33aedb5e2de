"""The Docker executor shows every behaviour on the list."""

from __future__ import annotations

import pytest

from rlm_graph.executors.conformance import ExecutorConformance
from rlm_graph.executors.docker import DockerExecutor
from tests.executors.docker.conftest import settings

pytestmark = pytest.mark.docker


class TestConformance(ExecutorConformance):
    @pytest.fixture
    def executor(self, docker_image: str) -> DockerExecutor:
        return DockerExecutor(settings(docker_image))
