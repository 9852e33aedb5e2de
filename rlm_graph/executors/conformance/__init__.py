"""What every executor does, as tests. Yours shows it by a class of its own:

    class TestMyExecutor(ExecutorConformance):
        @pytest.fixture
        def executor(self) -> MyExecutor:
            return MyExecutor()

Needs pytest and pytest-asyncio. A behaviour that an executor cannot show stands in its `declared`, with the reason,
under the name of the test, or `name[case]` for one of its cases; it must then really fail.
"""

from __future__ import annotations

import pytest

# Before the modules are imported: plain asserts then tell what they compared.
for _module in (
    "answers",
    "calls",
    "contexts",
    "features",
    "language",
    "lifetimes",
    "notebook",
    "output",
    "replays",
    "snapshots",
    "troubles",
):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from rlm_graph.executors.conformance.answers import AnswerBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.calls import CallBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.contexts import ContextBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.features import FeatureBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.language import LanguageBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.lifetimes import LifetimeBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.notebook import Host, Notebook, Notebooks, stored  # noqa: E402  # see above
from rlm_graph.executors.conformance.output import OutputBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.replays import ReplayBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.snapshots import SnapshotBehaviours  # noqa: E402  # see above
from rlm_graph.executors.conformance.troubles import TroubleBehaviours  # noqa: E402  # see above

__all__ = ["ExecutorConformance", "Host", "Notebook", "Notebooks", "stored"]


class ExecutorConformance(
    LanguageBehaviours,
    FeatureBehaviours,
    OutputBehaviours,
    CallBehaviours,
    AnswerBehaviours,
    ContextBehaviours,
    TroubleBehaviours,
    LifetimeBehaviours,
    ReplayBehaviours,
    SnapshotBehaviours,
):
    """All behaviours. A subclass gives the fixture `executor`."""

    async def test_what_is_declared_is_on_this_list(self, executor: object) -> None:
        declared = getattr(executor, "declared", {})

        assert [name for name in declared if not hasattr(self, name.partition("[")[0])] == []
        assert all(declared.values()), "each with its reason"
