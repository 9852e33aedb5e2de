"""Which tools there are to choose from, shown with a package that is really installed into a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_graph.errors import InputError, SetupError
from rlm_graph.settings import MCPSettings, ToolSettings
from rlm_graph.tools.registry import open_tools, tool_entries, tool_statuses

MODULE = '''
import sys
from langchain_core.tools import tool

sys.tools_were_imported = True


@tool
def tide(port: str) -> str:
    """Tell the tide."""
    return f"high at {port}"


def moon() -> str:
    """Tell the moon."""
    return "full"


moon.version = "ignored"
not_a_tool = 42
'''
NUMBERS = MCPSettings(command=sys.executable, args=(str(Path(__file__).with_name("mcp_server.py")),))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A distribution `sea-tools` 2.5 that offers tools."""
    info = tmp_path / "sea_tools-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sea-tools\nVersion: 2.5\n")
    points = ["tide = sea_tools:tide", "moonlight = sea_tools:moon", "broken = sea_tools:not_a_tool"]
    (info / "entry_points.txt").write_text("\n".join(["[rlm_graph.tools]", *points, "gone = no_such_module:x"]) + "\n")
    (tmp_path / "sea_tools.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("sea_tools", None)
    vars(sys).pop("tools_were_imported", None)


def test_a_package_is_not_imported_before_a_tool_of_it_is_chosen(package: Path) -> None:
    offered = {offer.name: offer for offer in tool_entries(ToolSettings())}

    assert {"file_read", "search", "web_fetch", "tide", "moonlight"} <= set(offered)
    assert (offered["tide"].source, offered["tide"].version) == ("sea-tools", "2.5")
    assert not hasattr(sys, "tools_were_imported")


def test_tools_are_chosen_by_name_wherever_they_come_from(package: Path) -> None:
    settings = ToolSettings(use=("moonlight", "search", "n_add"), roots=(package,), mcp={"n": NUMBERS})

    with open_tools(settings) as tools:
        by_name = {tool.name: tool for tool in tools}

        assert list(by_name) == ["moonlight", "search", "n_add"]
        assert by_name["moonlight"].invoke({}) == "full"
        assert by_name["moonlight"].metadata == {"version": "2.5"}
        assert by_name["n_add"].invoke({"a": 1, "b": 2}) == 3


def test_the_name_of_a_server_stands_for_all_its_tools() -> None:
    with open_tools(ToolSettings(use=("n",), mcp={"n": NUMBERS})) as tools:
        assert {"n_add", "n_get_page", "n_pid"} <= {tool.name for tool in tools}


def test_nothing_is_chosen_and_no_server_started_by_default() -> None:
    with open_tools(ToolSettings(mcp={"n": MCPSettings(command="no-such-program")})) as tools:
        assert tools == []


@pytest.mark.parametrize(
    ("use", "error", "words"),
    [
        ("tides", InputError, "there is no tool 'tides'; there are: file_read, .*tide"),
        ("n_subtract", InputError, "has no tool 'n_subtract'; it has: n_add"),
        ("broken", SetupError, "'broken', which sea-tools 2.5 brings, cannot be loaded: 42 is no tool"),
        ("gone", SetupError, "'gone', which sea-tools 2.5 brings, cannot be loaded: No module"),
        ("web_fetch", SetupError, "no host may be asked"),
    ],
)
def test_what_cannot_be_used_is_told_before_the_run(
    package: Path, use: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words), open_tools(ToolSettings(use=(use,), mcp={"n": NUMBERS})):
        pass


def test_a_name_that_two_packages_offer_is_refused(package: Path) -> None:
    other = package / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[rlm_graph.tools]\ntide = sea_tools:tide\n")

    words = r"offered twice, by (other and sea-tools|sea-tools and other)"
    with pytest.raises(SetupError, match=words), open_tools(ToolSettings(use=("tide",))):
        pass


def test_the_list_shows_what_works_and_why_the_rest_does_not(package: Path) -> None:
    servers = {"n": NUMBERS, "down": MCPSettings(command="no-such-program")}

    rows = {row.name: row for row in tool_statuses(ToolSettings(use=("tide", "n"), mcp=servers), check=True)}

    assert rows["tide"].used
    assert rows["tide"].function is not None
    assert rows["tide"].function.signature == "tide(port: str)"
    assert rows["tide"].problems == []
    assert rows["n_add"].used
    assert rows["n_add"].version == "1.2.3"
    assert "no folder may be read" in rows["search"].problems[0]
    assert "No such file" in rows["down"].problems[0]
    assert "42 is no tool" in rows["broken"].problems[0]
