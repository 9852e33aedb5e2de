"""`rlm-graph init`."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from pydantic import BaseModel, ConfigDict

from rlm_graph.cli.init import template
from rlm_graph.described import descriptions
from rlm_graph.settings import Settings
from tests.cli.conftest import Shell


def test_the_file_shows_every_setting_and_sets_none(shell: Shell) -> None:
    before = Settings.load().model_dump()

    assert shell.here("init").exit_code == 0

    text = (shell.folder / "rlm.toml").read_text()
    described = descriptions(Settings)
    for name in Settings.model_fields:
        assert re.search(rf"^(#{name} =|\[{name}\])", text, re.MULTILINE), name
        assert described[name].splitlines()[0] in text
    assert Settings.load().model_dump() == before


def test_every_default_in_the_file_is_the_real_one(shell: Shell) -> None:
    shell.here("init")
    file = shell.folder / "rlm.toml"
    before = Settings.load().model_dump()

    # Delete the # before each value, as a reader would. What is unset by default has no value to uncomment.
    text = re.sub(r"^#(\w+ = .)", r"\1", file.read_text(), flags=re.MULTILINE)
    file.write_text(text)
    shell.here("trust")

    assert tomllib.loads(text)["budget"]["max_turns"] == 10
    assert Settings.load().model_dump() == before


def test_every_kind_of_default_is_written_as_toml() -> None:
    class Table(BaseModel):
        model_config = ConfigDict(use_attribute_docstrings=True)

        quoted: str = 'a "word" \\ é\n'
        """Two lines: # one,

        and [another]."""

    class Some(BaseModel):
        nested: dict[str, Any] = {"a": {"b.c": [1, 2.5]}}
        listed: list[str] = ["x", "y = 1"]
        table: Table = Table()
        unset: str | None = None

    text = template(Some)

    assert "\n#unset =\n" in text
    assert "\n#\n# and [another].\n" in text
    assert tomllib.loads(text) == {"table": {}}
    assert tomllib.loads(re.sub(r"^#(\w+ = .)", r"\1", text, flags=re.MULTILINE)) == Some().model_dump(
        exclude={"unset"}
    )


def test_a_file_that_is_there_is_kept_unless_forced(shell: Shell) -> None:
    file = shell.folder / "rlm.toml"
    file.write_text('model = "mine"')

    refused = shell.here("init")

    assert refused.exit_code == 2
    assert refused.stderr == "error: rlm.toml is there already; --force replaces it\n"
    assert file.read_text() == 'model = "mine"'
    assert shell.here("init", "--force").exit_code == 0
    assert "[budget]" in file.read_text()


def test_a_place_that_cannot_be_written_is_an_error(shell: Shell) -> None:
    result = shell.here("init", "nowhere/rlm.toml")

    assert result.exit_code == 2
    assert result.stderr.startswith("error: nowhere/rlm.toml cannot be written: ")
