"""Which files of a folder are taken, and how a file that is named is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError

Entries = Callable[[], list[str]]
MakeFolder = Callable[[Path, dict[str, str | bytes]], Path]


def test_a_file_is_a_text_and_its_source_is_its_path(
    store: ContextStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("A")
    monkeypatch.chdir(tmp_path)

    ref = store.take(Path("a.txt"))

    assert (ref.kind, ref.source, store.load(ref)) == ("str", str(tmp_path / "a.txt"), "A")


def test_a_pipe_is_read_to_its_end(store: ContextStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([sys.executable, "-c", f"open({str(tmp_path / 'pipe')!r}, 'w').write('piped')"]):
        ref = store.take(tmp_path / "pipe")

    assert (store.load(ref), ref.source) == ("piped", "")


@pytest.mark.parametrize("name", ["gone", "gone/deeper", "file/deeper", "nul\0", "x" * 300])
def test_a_path_that_leads_nowhere_is_refused(store: ContextStore, tmp_path: Path, entries: Entries, name: str) -> None:
    (tmp_path / "file").write_text("a")

    with pytest.raises(InputError, match=r"does not exist|cannot be read"):
        store.take(tmp_path / name)

    assert entries() == []


def test_devices_and_sockets_are_refused(store: ContextStore, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "socket", Path("/dev/zero")):
            with pytest.raises(InputError, match="is a device or a socket; give a file or a folder"):
                store.take(path)


def test_an_empty_file_is_refused_by_name(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()

    with pytest.raises(InputError, match=r"the context is empty: .*/empty\.txt holds no text"):
        store.take(tmp_path / "empty.txt")


def test_an_unreadable_file_is_refused(
    public_folder: Path, without_rights: Callable[[], AbstractContextManager[None]]
) -> None:
    path = public_folder / "private.txt"
    path.write_text("private")
    path.chmod(0)

    with without_rights(), pytest.raises(InputError, match="cannot be read: Permission denied; check the path and its"):
        ContextStore(public_folder / "store").take(path)


def test_a_folder_is_a_dict_of_its_texts_by_path_in_order(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder
) -> None:
    folder = make_folder(tmp_path / "docs", {"b/c.txt": "C", "a.md": "A", "b.txt": "B", "b/a/z.txt": "Z", "empty": ""})

    ref = store.take(folder)

    loaded = store.load(ref)
    assert isinstance(loaded, dict)
    assert loaded == {"a.md": "A", "b.txt": "B", "b/a/z.txt": "Z", "b/c.txt": "C", "empty": ""}
    assert list(loaded) == sorted(loaded)
    assert (ref.kind, ref.source, ref.notes) == ("dict", str(folder), ())


def test_a_folder_leaves_out_and_counts_what_is_hidden_or_binary(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder
) -> None:
    hidden = [".git/config", ".env", "x/__pycache__/a.pyc", "node_modules/a.js", ".venv/b.py"]
    files: dict[str, str | bytes] = {
        "a.txt": "A",
        "l.txt": b"\xe9",
        "late.bin": b"a" * 3_000_000 + b"\0",
        "x/y.so": b"\0",
    }
    folder = make_folder(tmp_path / "docs", {**dict.fromkeys(hidden, "no"), **files})

    ref = store.take(folder)

    assert store.load(ref) == {"a.txt": "A", "l.txt": "é"}
    assert store.holds(ref)
    assert set(ref.notes) == {
        ".env, .git, .venv: left out because it is hidden",
        "node_modules, x/__pycache__: left out because it belongs to a build, an environment or a cache "
        "(contexts.ignore = false takes it)",
        "l.txt: decoded as Windows-1252 because it is not UTF-8",
        "late.bin, x/y.so: left out because it is binary",
    }


def test_a_folder_is_not_left_through_links_nor_stuck_in_them(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder
) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    folder = make_folder(tmp_path / "docs", {"a.txt": "A", "sub/b.txt": "B"})
    (folder / "in").symlink_to("sub/b.txt")
    (folder / "out").symlink_to(tmp_path / "secret.txt")
    (folder / "loop").symlink_to("loop")
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "gone").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    (tmp_path / "alias").symlink_to(folder)

    ref = store.take(tmp_path / "alias")

    assert store.load(ref) == {"a.txt": "A", "in": "B", "sub/b.txt": "B"}
    assert set(ref.notes) == {
        "out: left out because it is a link that leads out of the folder",
        "sub/up: left out because it is a link to a folder",
        "pipe: left out because it is no regular file",
        "gone: left out because it cannot be read (No such file or directory)",
        "loop: left out because it cannot be read (Too many levels of symbolic links)",
    }


def test_what_cannot_be_read_in_a_folder_is_noted(
    public_folder: Path, without_rights: Callable[[], AbstractContextManager[None]], make_folder: MakeFolder
) -> None:
    folder = make_folder(public_folder / "docs", {"a.txt": "A", "private.txt": "P", "closed/b.txt": "B"})
    (folder / "private.txt").chmod(0)
    (folder / "closed").chmod(0)

    with without_rights():
        store = ContextStore(public_folder / "store")
        ref = store.take(folder)
        assert store.load(ref) == {"a.txt": "A"}

    (folder / "closed").chmod(0o700)
    assert ref.notes == ("closed, private.txt: left out because it cannot be read (Permission denied)",)


def test_names_that_are_no_text_are_kept_and_noted_in_print(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder
) -> None:
    odd = os.fsdecode(b"\xff\n.txt")
    folder = make_folder(tmp_path / "docs", {odd: b"\xe9"})

    ref = store.take(folder)

    assert store.load(ref) == {odd: "é"}
    assert ref.notes == (r"\udcff\n.txt: decoded as Windows-1252 because it is not UTF-8",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no text"),
        ({"a": "", "b": ""}, "holds no text"),
        ({"a.bin": b"\0"}, r"holds no file that can be read as text \(a\.bin: left out because it is binary\)"),
        ({".hidden": "a"}, r"holds no file that can be read as text \(\.hidden: left out"),
    ],
)
def test_a_folder_without_text_is_refused_and_says_why(
    store: ContextStore, tmp_path: Path, files: dict[str, str | bytes], message: str, make_folder: MakeFolder
) -> None:
    (tmp_path / "docs").mkdir()

    with pytest.raises(InputError, match=message):
        store.take(make_folder(tmp_path / "docs", files))
