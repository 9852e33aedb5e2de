"""The README tells the truth about the code."""

from __future__ import annotations

import re
from pathlib import Path

from rlm_graph import Budget, Caps, create_rlm_agent
from rlm_graph.testing import ScriptedModel

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_drawing_of_the_workflow_is_the_graphs_own() -> None:
    drawn = create_rlm_agent(ScriptedModel([])).get_graph().draw_mermaid()

    [shown] = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    assert shown.strip() == drawn.partition("---\ngraph")[2].join(["graph", ""]).strip()


def test_the_ceilings_and_caps_that_it_tells_are_the_defaults() -> None:
    rows = re.findall(r"^\| ((?:`max_\w+`|`timeout_s`)[^|]*) \| (\w+) \| (\w+) \|", README, re.MULTILINE)
    told = {name: (default, cap) for names, default, cap in rows for name in re.findall(r"`(\w+)`", names)}

    assert told == {
        name: tuple(
            "none" if value is None else f"{value:g}" for value in (getattr(Budget(), name), getattr(Caps(), name))
        )
        for name in Caps.model_fields
    }


def test_every_feature_is_shown_by_tests_that_there_are() -> None:
    _, _, table = README.partition("## What each feature is shown by")
    rows = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]

    assert rows
    for row in rows:
        shown = re.findall(r"`(tests/[^`]+\.py)`", row)
        assert shown, f"no test shows: {row}"
        for path in shown:
            assert re.search(r"def test_|class Test", (ROOT / path).read_text()), path
