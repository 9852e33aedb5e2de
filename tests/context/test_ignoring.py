"""Folders leave out what git ignores, and what tools have made; a folder that is named is taken all the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.context.folders import text_files
from rlm_graph.context.notes import Notes
from rlm_graph.errors import InputError
from rlm_graph.settings import ContextSettings

MakeFolder = Callable[[Path, dict[str, str | bytes]], Path]


def files(folder: Path, *, ignore: bool = True) -> list[str]:
    return text_files(folder, Notes(), ignore=ignore)


@pytest.fixture
def repository(tmp_path: Path, make_folder: MakeFolder) -> Path:
    return make_folder(
        tmp_path / "repo",
        {
            ".git/HEAD": "ref: refs/heads/main\n",
            ".git/info/exclude": "mine.txt\n",
            ".gitignore": "*.log\n/out/\nsecret\n# a comment\n\n!\n",
            "a.txt": "A", "a.log": "no", "mine.txt": "no", "out/a.txt": "no", "secret/a.txt": "no",
            "sub/.gitignore": "!keep.log\n*.tmp\n/only-here.txt\n",
            "sub/keep.log": "yes", "sub/b.log": "no", "sub/c.tmp": "no", "sub/out/a.txt": "yes",
            "sub/only-here.txt": "no", "sub/deep/only-here.txt": "yes", "sub/deep/d.tmp": "no",
        },
    )  # fmt: skip


def test_rules_of_a_repository_hold_with_their_negations_and_nesting(store: ContextStore, repository: Path) -> None:
    ref = store.take(repository)

    assert set(store.load(ref)) == {"a.txt", "sub/keep.log", "sub/out/a.txt", "sub/deep/only-here.txt"}
    assert (
        "a.log, mine.txt, out and 5 more: left out because git ignores it (contexts.ignore = false takes it)"
        in ref.notes
    )


def test_it_is_what_git_itself_would_track(repository: Path) -> None:
    git = ["git", "-c", "init.defaultBranch=main", "-c", "core.excludesFile="]
    try:
        subprocess.run([*git, "init", "-q"], cwd=repository, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no git here")
    (repository / ".git" / "info" / "exclude").write_text("mine.txt\n")
    command = [*git, "ls-files", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.split()

    assert files(repository) == sorted(name for name in listed if not Path(name).name.startswith("."))


def test_rules_above_a_folder_hold_in_it(repository: Path) -> None:
    assert files(repository / "sub") == ["deep/only-here.txt", "keep.log", "out/a.txt"]
    assert files(repository / "sub" / "deep") == ["only-here.txt"]


def test_a_folder_that_is_named_is_taken_even_if_git_ignores_it(repository: Path) -> None:
    assert files(repository / "out") == ["a.txt"]
    assert files(repository / "secret") == ["a.txt"]


def test_without_ignoring_all_is_taken_but_what_is_hidden(tmp_path: Path, repository: Path) -> None:
    store = ContextStore(tmp_path / "store", ContextSettings(ignore=False))

    assert {"a.log", "mine.txt", "out/a.txt", "sub/c.tmp"} < set(store.load(store.take(repository)))
    assert ".git/HEAD" not in store.load(store.take(repository))


def test_outside_of_a_repository_no_rules_hold(tmp_path: Path, make_folder: MakeFolder) -> None:
    folder = make_folder(tmp_path / "docs", {".gitignore": "*.log\n", "a.log": "yes"})

    assert files(folder) == ["a.log"]


def test_a_further_work_tree_has_the_rules_of_its_repository(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path / "main" / ".git", {"info/exclude": "mine.txt", "worktrees/one/commondir": "../..\n"})
    folder = make_folder(
        tmp_path / "one",
        {".git": f"gitdir: {tmp_path}/main/.git/worktrees/one\n", "mine.txt": "no", "a.txt": "yes"},
    )

    assert files(folder) == ["a.txt"]


def test_rules_that_are_no_file_or_made_to_take_for_ever_are_passed_over(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    folder = make_folder(tmp_path / "repo", {".git/HEAD": "", ".gitignore": "*a" * 30 + "b\n*.log\n", "a.log": "no"})
    make_folder(folder, {"a" * 200: "yes", "sub/a.txt": "yes"})
    os.mkfifo(folder / "sub" / ".gitignore")

    assert files(folder) == ["a" * 200, "sub/a.txt"]


@pytest.mark.parametrize("made", ["build", "dist", "target", "node_modules", "__pycache__", "CVS"])
def test_what_tools_have_made_is_left_out_and_said(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder, made: str
) -> None:
    folder = make_folder(tmp_path / "docs", {f"{made}/a.txt": "made", "b.txt": "B"})

    ref = store.take(folder)

    assert store.load(ref) == {"b.txt": "B"}
    assert ref.notes == (
        f"{made}: left out because it belongs to a build, an environment or a cache (contexts.ignore = false takes it)",
    )
    assert store.load(store.take(folder / made)) == {"a.txt": "made"}
    assert files(folder, ignore=False) == sorted(["b.txt", f"{made}/a.txt"])


@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta/history"])
def test_an_environment_of_python_is_left_out_whatever_its_name(
    tmp_path: Path, make_folder: MakeFolder, mark: str
) -> None:
    folder = make_folder(tmp_path / "docs", {f"mine/{mark}": "", "mine/lib/a.py": "no", "b.txt": "B"})

    assert files(folder) == ["b.txt"]


def test_a_folder_of_ignored_files_is_refused_with_the_reason(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder
) -> None:
    folder = make_folder(tmp_path / "repo", {".git/HEAD": "", ".gitignore": "*.log", "a.log": "no"})

    with pytest.raises(InputError, match=r"a\.log: left out because git ignores it \(contexts\.ignore = false"):
        store.take(folder)
