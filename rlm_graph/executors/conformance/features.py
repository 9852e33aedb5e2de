"""What models write: features of the language and of its library, each a cell whose value is known.

They are grouped by theme. The cells of a theme stand apart by an empty line and run in one REPL, in their order; the
last line of each, a comment, is the value that it shows.
"""

from __future__ import annotations

import pytest

from rlm_graph.executors.conformance.definitions import DEFINITIONS
from rlm_graph.executors.conformance.library import LIBRARY
from rlm_graph.executors.conformance.notebook import Notebook, Notebooks
from rlm_graph.executors.conformance.statements import STATEMENTS

FEATURES = DEFINITIONS | STATEMENTS | LIBRARY


@pytest.mark.asyncio
class FeatureBehaviours(Notebooks):
    """What models write works as it does anywhere."""

    @pytest.mark.parametrize("theme", FEATURES)
    async def test_features_that_models_use_work(self, notebook: Notebook, theme: str) -> None:
        for cell in FEATURES[theme].strip().split("\n\n"):
            execution = await notebook.run(cell)

            assert (execution.value, execution.error) == (cell.rpartition("\n# ")[2], None), cell
