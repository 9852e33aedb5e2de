"""The local executor shows every behaviour on the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_graph.executors.conformance import ExecutorConformance
from rlm_graph.executors.local import LocalExecutor


class TestLocalExecutor(ExecutorConformance):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> LocalExecutor:
        return LocalExecutor(folder=tmp_path / "repls")
