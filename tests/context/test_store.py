"""Equal content has one name, and a reference finds its content or says that it must be given again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError, StorageError
from rlm_graph.state import ContextRef

Entries = Callable[[], list[str]]

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_is_touched_before_the_first_use(tmp_path: Path) -> None:
    store = ContextStore(tmp_path / "store")

    assert list(store.all()) == []
    assert not (tmp_path / "store").exists()


def test_the_stored_form_is_the_texts_and_an_index_and_its_name_is_their_hash(store: ContextStore) -> None:
    ref = store.take({"a": "one", "b": "zwölf", "c": ""})

    folder = store.folder(ref)
    text, index = (folder / "text").read_bytes(), (folder / "index.json").read_bytes()
    assert sorted(os.listdir(folder)) == ["index.json", "text"]
    assert text == "onezwölf".encode()
    assert json.loads(index) == {
        "kind": "dict",
        "parts": [
            {"name": "a", "start": 0, "bytes": 3, "chars": 3, "ascii": True},
            {"name": "b", "start": 3, "bytes": 6, "chars": 5, "ascii": False},
            {"name": "c", "start": 9, "bytes": 0, "chars": 0, "ascii": True},
        ],
    }
    assert ref.sha256 == hashlib.sha256(text + index).hexdigest()
    assert ref == ContextRef(sha256=ref.sha256, kind="dict", chars=8, bytes=9, parts=3, longest=5)


def test_equal_content_has_an_equal_reference_whatever_it_was_called(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("same ☃")
    (tmp_path / "two").write_bytes("same ☃".encode("utf-16"))

    hashes = {store.take(given).sha256 for given in ["same ☃", tmp_path / "one", tmp_path / "two"]}

    assert list(store.all()) == list(hashes)


def test_the_same_texts_differ_as_one_text_as_a_list_and_as_a_dict(store: ContextStore) -> None:
    refs = [store.take(given) for given in ["ab", ["ab"], ["a", "b"], {"x": "ab"}, {"y": "ab"}]]

    assert len({ref.sha256 for ref in refs}) == 5
    assert [store.load(ref) for ref in refs] == ["ab", ["ab"], ["a", "b"], {"x": "ab"}, {"y": "ab"}]


def test_a_reference_is_returned_as_it_is(store: ContextStore) -> None:
    ref = store.take("text")

    assert store.take(ref) is ref


def test_what_is_forgotten_is_gone_and_may_be_forgotten_again(store: ContextStore, entries: Entries) -> None:
    kept, ref = store.take("kept"), store.take("text")

    store.forget(ref)
    store.forget(ref)

    assert not store.holds(ref)
    assert list(store.all()) == entries() == [kept.sha256]
    with pytest.raises(InputError, match="not on this machine; give the context again"):
        store.load(ref)


@pytest.mark.parametrize("name", ["../store", "..", "", "A" * 64, "a" * 64 + "\n"])
def test_a_reference_names_nothing_outside_the_store(store: ContextStore, tmp_path: Path, name: str) -> None:
    store.take("text")
    forged = ContextRef(sha256=name, kind="str", chars=1, bytes=1)

    for use in (store.folder, store.holds, store.load, store.forget, store.take):
        with pytest.raises(InputError, match="no reference to a context"):
            use(forged)
    assert len(list(store.all())) == 1


def test_a_damaged_context_is_not_held_and_is_replaced_when_taken_again(store: ContextStore, entries: Entries) -> None:
    ref = store.take("a text that is longer")
    os.truncate(store.folder(ref) / "text", 3)
    assert not store.holds(ref)

    store.take("a text that is longer")

    assert store.load(ref) == "a text that is longer"
    assert entries() == [ref.sha256]


def test_an_unreadable_index_is_a_storage_error(store: ContextStore) -> None:
    ref = store.take("text")
    (store.folder(ref) / "index.json").write_text("{")

    with pytest.raises(StorageError, match="is damaged"):
        store.load(ref)


def test_a_file_is_taken_again_where_the_store_lacks_it(store: ContextStore, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("all of it")
    ref = store.take(path)
    store.forget(ref)

    assert store.restore(ref) is ref
    assert store.load(ref) == "all of it"


@pytest.mark.parametrize("name", ["line\nbreak", b"not \xff utf-8", "100% #1?"])
def test_a_file_of_any_name_is_taken_again(store: ContextStore, tmp_path: Path, name: str | bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_text("all of it")
    ref = store.take(path)
    store.forget(ref)

    assert store.take(ref) is ref
    assert ref.source.isprintable()


def test_several_files_and_folders_are_taken_again_from_anywhere(
    store: ContextStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("A")
    (tmp_path / "b.txt").write_text("B")
    monkeypatch.chdir(tmp_path)
    ref = store.combine([Path("docs"), Path("b.txt")])
    store.forget(ref)

    monkeypatch.chdir("/")
    store.restore(ref)

    assert store.load(ref) == {"docs/a.md": "A", "b.txt": "B"}


def test_a_file_that_changed_or_went_must_be_given_again(store: ContextStore, tmp_path: Path, entries: Entries) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("before")
    ref = store.take(path)
    store.forget(ref)

    path.write_text("after")
    with pytest.raises(InputError, match="its content has changed since; give the context again"):
        store.restore(ref)
    path.unlink()
    with pytest.raises(InputError, match="does not exist; check the path; give the context again"):
        store.restore(ref)

    assert entries() == []


def test_a_text_that_is_not_here_must_be_given_again(store: ContextStore) -> None:
    ref = store.take("text")
    store.forget(ref)

    with pytest.raises(InputError, match="came from no file or URL; give the context again"):
        store.take(ref)
