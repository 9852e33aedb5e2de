"""Removing what code left behind."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

from rlm_graph.executors.sandbox.supervisor.removal import remove_tree


def test_folders_deeper_than_python_recurses_and_a_path_reaches_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    name = "d" * 100
    at = os.open(folder, os.O_RDONLY)
    for _ in range(200):
        os.mkdir(name, dir_fd=at)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 50)
    try:
        remove_tree(str(folder))
    finally:
        sys.setrecursionlimit(limit)

    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_what_they_point_to_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    folder = tmp_path / "scratch"
    (folder / "inner").mkdir(parents=True)
    for name in ("a", "inner/b"):
        (folder / name).symlink_to(kept)
    (folder / "loop").symlink_to("loop")

    remove_tree(str(folder))

    assert not folder.exists()
    assert (kept / "file").read_text() == "kept"


def test_folders_that_are_closed_and_names_that_are_odd_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    inner = folder / "closed" / "inner"
    inner.mkdir(parents=True)
    for name in (b"a\nb", b"-rf", b"\xff\xfe", b" ", b"..."):
        os.close(os.open(os.fsencode(inner) + b"/" + name, os.O_CREAT))
    inner.chmod(0)
    (folder / "closed").chmod(0)

    remove_tree(str(folder))

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_or_is_a_link_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / "link").symlink_to(kept)

    remove_tree(str(tmp_path / "missing"))
    remove_tree(str(tmp_path / "link"))

    assert kept.is_dir()
