"""The E2B executor shows every behaviour on the list: against the double, and in the cloud where there is a key."""

from __future__ import annotations

import pytest

from rlm_graph.executors.conformance import ExecutorConformance
from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.settings import E2BSettings


class TestConformance(ExecutorConformance):
    @pytest.fixture
    def executor(self, settings: E2BSettings) -> E2BExecutor:
        return E2BExecutor(settings)


@pytest.mark.live
class TestConformanceInTheCloud(ExecutorConformance):
    @pytest.fixture
    def executor(self) -> E2BExecutor:
        return E2BExecutor()
