"""The README tells the truth about the code."""

from __future__ import annotations

import re
from pathlib import Path

from rlm_graph import create_rlm_agent
from rlm_graph.testing import ScriptedModel

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_drawing_of_the_workflow_is_the_graphs_own() -> None:
    drawn = create_rlm_agent(ScriptedModel([])).get_graph().draw_mermaid()

    [shown] = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    assert shown.strip() == drawn.partition("---\ngraph")[2].join(["graph", ""]).strip()


def test_every_file_that_it_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets


def test_every_feature_is_shown_by_tests_that_there_are() -> None:
    _, _, table = README.partition("## What each feature is shown by")
    rows = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]

    assert rows
    for row in rows:
        shown = re.findall(r"`(tests/[^`]+\.py)`", row)
        assert shown, f"no test shows: {row}"
        for path in shown:
            assert re.search(r"def test_|class Test", (ROOT / path).read_text()), path
