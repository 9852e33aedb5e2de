"""The Pyodide executor shows every behaviour on the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_graph.executors.conformance import ExecutorConformance, Notebook
from rlm_graph.executors.conformance.answers import AnswerBehaviours
from rlm_graph.executors.conformance.calls import CallBehaviours
from rlm_graph.executors.conformance.language import LanguageBehaviours
from rlm_graph.executors.conformance.output import OutputBehaviours
from rlm_graph.executors.pyodide import PyodideExecutor
from rlm_graph.settings import PyodideSettings

pytestmark = pytest.mark.pyodide

IN_ONE_REPL = (LanguageBehaviours, OutputBehaviours, CallBehaviours, AnswerBehaviours)
"""Whose tests leave nothing to the next but names and files."""
BY_NUMBER = {"test_a_traceback_shows_the_code_of_all_cells_and_nothing_else"}
"""Which take their cells for the first."""


class TestConformance(ExecutorConformance):
    @pytest.fixture
    def executor(self, tmp_path: Path, pyodide_store: Path) -> PyodideExecutor:
        return PyodideExecutor(PyodideSettings(store=pyodide_store), folder=tmp_path / "r")

    @pytest.fixture
    def notebook(self, request: pytest.FixtureRequest, executor: PyodideExecutor) -> Notebook:
        """The REPL that they share, or one of the test's own."""
        name = request.function.__name__
        shares = name not in BY_NUMBER | executor.declared.keys() and any(
            hasattr(behaviours, name) for behaviours in IN_ONE_REPL
        )
        notebook: Notebook = request.getfixturevalue("shared" if shares else "own")
        return notebook
