"""What `file_read` and `search` promise: the files of the allowed folders, and nothing else however it is asked for."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from rlm_graph.errors import SetupError
from rlm_graph.settings import ToolSettings
from rlm_graph.state import SubcallReply
from rlm_graph.tools import HostFunction, use
from rlm_graph.tools.files import file_read, search

SECRET = "the secret"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder that may be read, beside one that may not."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key.txt").write_text(SECRET)
    docs = tmp_path / "docs"
    (docs / "deep").mkdir(parents=True)
    (docs / "a.txt").write_text("The pump was made in Trieste.\n")
    (docs / "deep" / "b.txt").write_text("Nothing here.\nThe notice period is three months.\n")
    (docs / ".hidden").write_text("The notice period is hidden.")
    (docs / "data.bin").write_bytes(b"\x89PNG\x00notice period")
    (docs / "inside").symlink_to(docs / "deep" / "b.txt")
    (docs / "outside").symlink_to(tmp_path / "private" / "key.txt")
    (docs / "outside-folder").symlink_to(tmp_path / "private")
    (docs / "loop").symlink_to(docs / "loop")
    (docs / "docs2").mkdir()
    os.mkfifo(docs / "pipe")
    return tmp_path


async def read(root: Path, path: str, **arguments: JsonValue) -> SubcallReply:
    settings = ToolSettings(roots=(root,), max_read_bytes=100)
    return await use(HostFunction(file_read(settings)), {"path": path, **arguments}, timeout_s=30)


async def find(*roots: Path, most: int = 1 << 20, **arguments: JsonValue) -> Any:
    settings = ToolSettings(roots=roots, max_search_bytes=most)
    reply = await use(HostFunction(search(settings)), arguments, timeout_s=60)
    return reply.value if reply.error is None else reply.error


@pytest.mark.parametrize("path", ["a.txt", "./a.txt", "deep/../a.txt", "{house}/docs/a.txt"])
async def test_a_file_is_read_by_any_path_that_leads_to_it(house: Path, path: str) -> None:
    assert (await read(house / "docs", path.format(house=house))).value == "The pump was made in Trieste.\n"


async def test_a_link_that_stays_inside_is_followed(house: Path) -> None:
    assert "three months" in str((await read(house / "docs", "inside")).value)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("../private/key.txt", "PermissionError"),
        ("deep/../../private/key.txt", "PermissionError"),
        ("{house}/private/key.txt", "PermissionError"),
        ("{house}/docs/../private/key.txt", "PermissionError"),
        ("/etc/passwd", "PermissionError"),
        ("/proc/self/environ", "PermissionError"),
        ("outside", "PermissionError"),
        ("outside-folder/key.txt", "PermissionError"),
        ("a.txt\0.png", "PermissionError"),
        ("loop", "OSError"),
        ("pipe", "OSError"),
        ("nowhere.txt", "FileNotFoundError"),
        ("a.txt/b", "OSError"),
        ("x" * 5_000, "OSError"),
        ("deep", "IsADirectoryError"),
        ("", "IsADirectoryError"),
    ],
)
async def test_what_is_outside_or_no_file_is_refused(house: Path, path: str, kind: str) -> None:
    reply = await read(house / "docs", path.format(house=house))

    assert reply.value is None
    assert reply.error_type == kind
    assert SECRET not in str(reply.error)


async def test_a_socket_and_a_device_are_no_files() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        Path(folder, "null").symlink_to("/dev/null")

        assert "no regular file" in str((await read(Path(folder), "socket")).error)
        assert (await read(Path(folder), "null")).error_type == "PermissionError"


async def test_a_folder_that_becomes_a_link_in_the_meantime_is_not_followed(house: Path) -> None:
    from rlm_graph.tools.roots import Roots

    roots = Roots([house / "docs"])
    root, parts = roots._resolved("deep/b.txt")
    (house / "docs" / "deep").rename(house / "docs" / "was-deep")
    (house / "private" / "b.txt").write_text(SECRET)
    (house / "docs" / "deep").symlink_to(house / "private")
    roots._resolved = lambda path: (root, parts)  # type: ignore[method-assign]  # as it stood when it was checked

    with pytest.raises(OSError, match="cannot be read"), roots.opened("deep/b.txt"):
        pass


async def test_a_binary_file_is_told_and_not_read(house: Path) -> None:
    assert "data.bin is binary (18 bytes)" in str((await read(house / "docs", "data.bin")).error)


async def test_a_long_file_is_read_in_parts_that_lose_no_character(house: Path) -> None:
    text = "äöü€😀\n" * 40
    (house / "docs" / "long.txt").write_text(text)

    whole = await read(house / "docs", "long.txt")
    pieces = [
        str((await read(house / "docs", "long.txt", offset=offset, limit=limit)).value)
        for limit in (7,)
        for offset in range(0, len(text.encode()), limit)
    ]

    assert "read it in parts" in str(whole.error)
    assert "".join(pieces) == text
    assert (await read(house / "docs", "long.txt", offset=10_000)).value == ""


@pytest.mark.parametrize("arguments", [{"offset": -1}, {"limit": 0}, {"limit": 101}])
async def test_a_piece_has_bounds(house: Path, arguments: Any) -> None:
    assert (await read(house / "docs", "a.txt", **arguments)).error_type == "ValueError"


async def test_a_search_puts_the_phrase_and_rarer_words_first_and_leaves_out_what_is_hidden_or_binary(
    house: Path,
) -> None:
    (house / "docs" / "c.txt").write_text("A period of notice: the notice was long.\n")

    found = await find(house / "docs", query="the notice period")

    assert [hit["path"] for hit in found] == ["deep/b.txt", "c.txt", "a.txt"]
    assert found[0]["line"] == 1
    assert "three months" in found[0]["text"]


async def test_a_search_tells_the_line_of_each_passage_of_a_long_file(house: Path) -> None:
    lines = [f"line {number}" + (" needle" if number in (50, 2_000) else "") for number in range(1, 3_001)]
    (house / "docs" / "long.txt").write_text("\n".join(lines))

    found = await find(house / "docs", query="needle", path="long.txt")

    assert len(found) == 2
    for hit, number in zip(found, (50, 2_000), strict=True):
        assert hit["text"].splitlines()[number - hit["line"]] == f"line {number} needle"


async def test_a_search_does_not_leave_the_folder_through_a_link(house: Path) -> None:
    assert await find(house / "docs", query="secret") == []
    assert "outside of what may be read" in await find(house / "docs", query="secret", path="outside-folder")
    assert "outside of what may be read" in await find(house / "docs", query="secret", path="..")


async def test_paths_of_several_folders_begin_with_their_names_and_never_tell_where_they_lie(house: Path) -> None:
    found = await find(house / "docs", house / "private", query="secret pump")
    settings = ToolSettings(roots=(house / "docs", house / "private"))
    reader = HostFunction(file_read(settings))

    assert sorted(hit["path"] for hit in found) == ["docs/a.txt", "private/key.txt"]
    assert (await use(reader, {"path": "private/key.txt"})).value == SECRET
    assert "must begin with one of: docs, private" in str((await use(reader, {"path": "a.txt"})).error)
    assert "Trieste" in str((await use(reader, {"path": "docs/a.txt"})).value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"query": "..."}, "no words"),
        ({"query": "a", "limit": 0}, "limit is between"),
        ({"query": "a", "most": 10}, "more than 10 bytes to search"),
    ],
)
async def test_a_search_has_bounds(house: Path, arguments: Any, words: str) -> None:
    assert words in await find(house / "docs", **arguments)


@pytest.fixture(params=["/", "/proc", "/dev/shm", "nowhere"])
def unfit(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_a_folder_that_is_not_there_or_is_the_machine_itself_is_refused(unfit: Path) -> None:
    with pytest.raises(SetupError, match=r"tools\.roots"):
        file_read(ToolSettings(roots=(unfit,)))


def test_without_a_folder_there_is_nothing_to_read() -> None:
    with pytest.raises(SetupError, match="no folder may be read"):
        search(ToolSettings())
