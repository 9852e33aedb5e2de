"""A pattern that no shell has expanded stands for the files that it matches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.context.globs import Glob
from rlm_graph.errors import InputError

MakeFolder = Callable[[Path, dict[str, str | bytes]], Path]


@pytest.fixture
def folder(tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_folder(
        tmp_path / "a [folder]",
        {
            ".git/HEAD": "", ".gitignore": "*.log",
            "1.txt": "1", "2.txt": "2", "2.md": "M", "x.log": "no", ".hidden.txt": "no",
            "scan.png": b"\x89PNG\r\n\x1a\n",
            "docs/3.txt": "3", "docs/deep/4.txt": "4", "node_modules/5.txt": "no", "build/6.txt": "6",
        },
    )  # fmt: skip
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.txt", {"1.txt", "2.txt"}),
        ("?.[tm]*", {"1.txt", "2.txt", "2.md"}),
        ("./docs/*.txt", None),
        ("**/*.txt", {"1.txt", "2.txt", "docs/3.txt", "docs/deep/4.txt"}),
        ("doc*", {"3.txt", "deep/4.txt"}),
        ("**", {"1.txt", "2.txt", "2.md", "docs/3.txt", "docs/deep/4.txt"}),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_matches_is_taken_but_what_is_hidden_ignored_or_binary(
    store: ContextStore, pattern: str, names: set[str] | None
) -> None:
    loaded = store.load(store.take(Glob(pattern)))

    assert loaded == "3" if names is None else set(loaded) == names


def test_an_absolute_pattern_and_one_of_a_made_folder(store: ContextStore, folder: Path) -> None:
    assert store.load(store.take(Glob(f"{folder.parent}/a*/docs/3.*"))) == "3"
    assert store.load(store.take(Glob("build/*.txt"))) == "6"


@pytest.mark.usefixtures("folder")
def test_what_a_pattern_leaves_out_is_said_and_nothing_else(store: ContextStore) -> None:
    ref = store.take(Glob("*[2g]*"))

    assert set(store.load(ref)) == {"2.txt", "2.md"}
    assert set(ref.notes) == {
        "x.log: left out because git ignores it (contexts.ignore = false takes it)",
        "scan.png: left out because it is an image",
    }


@pytest.mark.usefixtures("folder")
def test_a_pattern_goes_with_other_contexts(store: ContextStore, folder: Path) -> None:
    ref = store.combine([Glob("*.txt"), folder / "2.md", "more"])

    assert store.load(ref) == {"1.txt": "1", "2.txt": "2", "2.md": "M", "text": "more"}


@pytest.mark.parametrize("pattern", ["*.csv", "gone/*", "*.log"])
@pytest.mark.usefixtures("folder")
def test_a_pattern_that_matches_nothing_is_refused(store: ContextStore, pattern: str) -> None:
    with pytest.raises(InputError, match=r"no file matches .*; check the pattern, or name a file or folder"):
        store.take(Glob(pattern))
