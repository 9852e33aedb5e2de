"""The example settings: one file for each executor, true to what it can be told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from rlm_graph.settings import Settings

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_example_shows_every_option_of_its_executor_with_its_default(path: Path, tmp_path: Path) -> None:
    shown = tomllib.loads(path.read_text())["executor"]

    loaded = Settings.load(config=path, folder=tmp_path).executor

    assert loaded == type(loaded)(), "a default has changed"
    # TOML has no null: an option that is unset by default stands in a comment.
    commented = type(loaded).model_fields.keys() - shown.keys()
    assert shown.keys() <= type(loaded).model_fields.keys()
    assert all(type(loaded).model_fields[name].default is None for name in commented)
    assert all(f"# {name} = " in path.read_text() for name in commented)
    assert shown["kind"] == path.stem
