"""The Pyodide executor: Python in WebAssembly, under Deno."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_graph.executors.conformance import ExecutorConformance
from rlm_graph.executors.pyodide import PyodideExecutor
from rlm_graph.settings import PyodideSettings

pytestmark = pytest.mark.pyodide


class TestPyodideExecutor(ExecutorConformance):
    @pytest.fixture
    def executor(self, tmp_path: Path, pyodide_store: Path) -> PyodideExecutor:
        return PyodideExecutor(PyodideSettings(store=pyodide_store), folder=tmp_path / "r")
