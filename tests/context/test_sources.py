"""What may be given as a context, and what each becomes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError

Entries = Callable[[], list[str]]
MakeFolder = Callable[[Path, dict[str, str | bytes]], Path]


def test_a_text_is_never_taken_for_a_path(store: ContextStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")

    ref = store.take(str(secret))

    assert store.load(ref) == str(secret)
    assert ref.notes == ("this text names an existing file; pass a Path to read it",)


@pytest.mark.parametrize("kind", ["file", "http"])
def test_a_literal_text_reads_no_file_and_asks_no_server(
    store: ContextStore, tmp_path: Path, web: Any, kind: str
) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    url = (tmp_path / "secret.txt").as_uri() if kind == "file" else web.serve("/secret", b"the secret")

    ref = store.take(url, literal=True)

    assert store.load(ref) == url
    assert (ref.source, ref.notes, web.asked) == ("", (), [])


@pytest.mark.parametrize(
    "text",
    [
        "see https://example.com",
        "https://example.com\n",
        "https://a b",
        "https:x",
        "a\0b",
        "https://\ud800",
        "x" * 5000,
    ],
)
def test_a_text_that_is_more_or_less_than_a_url_is_a_text(store: ContextStore, text: str) -> None:
    assert store.load(store.take(text)) == text


def test_a_literal_text_is_not_even_looked_up(store: ContextStore, tmp_path: Path) -> None:
    assert store.take(str(tmp_path), literal=True).notes == ()


def test_texts_in_lists_and_dicts_are_never_fetched(store: ContextStore, web: Any) -> None:
    url = web.serve("/a", b"text")

    assert store.load(store.take([url])) == [url]
    assert store.load(store.take({"a": url})) == {"a": url}
    assert web.asked == []


def test_a_list_keeps_its_order_and_its_empty_and_equal_texts(store: ContextStore) -> None:
    texts = ["b", "", "a", "b", "ß" * 2_000_000]

    ref = store.take(tuple(texts))

    assert store.load(ref) == texts
    assert (ref.kind, ref.parts, ref.longest, ref.chars) == ("list", 5, 2_000_000, 2_000_003)


def test_a_dict_keeps_names_of_any_kind(store: ContextStore) -> None:
    texts = {"": "empty", "a/b\n": "path", "🦜\udc80": "odd"}

    assert store.load(store.take(texts)) == texts


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "a context cannot be of type NoneType; give a text, a Path"),
        (b"bytes", "of type bytes; .* decode the bytes first"),
        (42, "of type int"),
        ({1: "a"}, "a name in the context is of type int"),
        ({"a": None}, "the context's 'a' is of type NoneType; give texts"),
        (["a", 2], "item 2 of the context is of type int; give texts"),
        (["a", Path("b")], "item 2 of the context is of type PosixPath; give texts, or Paths and nothing else"),
        ([["a"]], "item 1 of the context is of type list"),
    ],
)
def test_what_is_no_text_is_refused(store: ContextStore, entries: Entries, given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        store.take(given)

    assert entries() == []


def test_documents_with_a_source_become_a_dict(store: ContextStore) -> None:
    documents = [
        Document("one", metadata={"source": "a.md"}),
        Document("two", metadata={"source": "a.md"}),
        Document("three", metadata={"source": "a.md (2)"}),
        Document("four", metadata={"source": "a.md"}),
    ]

    loaded = store.load(store.take(documents))

    assert loaded == {"a.md": "one", "a.md (2)": "two", "a.md (2) (2)": "three", "a.md (3)": "four"}


def test_documents_without_sources_become_a_list_and_one_alone_a_text(store: ContextStore) -> None:
    documents = [Document("one", metadata={"source": "a.md"}), Document("two")]

    assert store.load(store.take(documents)) == ["one", "two"]
    assert store.load(store.take({"x": documents[0]})) == {"x": "one"}
    assert store.load(store.take(documents[0])) == "one"


@pytest.mark.parametrize("stream", [io.BytesIO("naïve".encode()), io.StringIO("naïve")], ids=["bytes", "text"])
def test_a_stream_is_read_to_its_end(store: ContextStore, stream: io.IOBase) -> None:
    ref = store.take(stream)

    assert store.load(ref) == "naïve"
    assert ref.source == ""


def test_a_stream_that_is_not_utf8_is_read_once_all_the_same(store: ContextStore) -> None:
    read, write = os.pipe()
    with open(write, "wb") as end:
        end.write(b"na\xefve")
    with open(read, encoding="utf-8") as stream:  # as `sys.stdin` is: its bytes are read, whatever it would decode
        ref = store.take(stream)

    assert store.load(ref) == "naïve"
    assert ref.notes == ("decoded as latin-1 because it is not UTF-8",)


def test_one_alone_is_what_it_is_by_itself(store: ContextStore, tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path, {"a.txt": "A", "docs/b.txt": "B"})

    assert store.load(store.combine([tmp_path / "a.txt"])) == "A"
    assert store.load(store.combine([tmp_path / "docs"])) == {"b.txt": "B"}
    ref = store.take("text")
    assert store.combine([ref]) is ref
    with pytest.raises(InputError, match="no context was given"):
        store.combine([])


def test_several_are_named_by_their_path_from_the_folder_that_holds_all(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder
) -> None:
    make_folder(tmp_path, {"docs/b.txt": "B", "docs/c/a.txt": "C", "a.txt": "A", "more/a.txt": "M"})
    given = [tmp_path / "docs", tmp_path / "a.txt", tmp_path / "more" / "a.txt"]

    ref = store.combine(given)

    assert store.load(ref) == {"docs/b.txt": "B", "docs/c/a.txt": "C", "a.txt": "A", "more/a.txt": "M"}
    assert ref.source.split("\n") == list(map(str, given))
    assert store.take(given) == ref


def test_what_is_given_twice_is_there_once_even_if_it_is_binary(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder
) -> None:
    make_folder(tmp_path, {"docs/a.txt": "A", "docs/b.bin": b"\0"})

    ref = store.combine([tmp_path / "docs", tmp_path / "docs" / "b.bin", tmp_path / "docs" / ".." / "docs" / "a.txt"])

    assert store.load(ref) == {"docs/a.txt": "A", "docs/b.bin": "\0"}


def test_names_that_would_collide_get_a_number(
    store: ContextStore, tmp_path: Path, web: Any, make_folder: MakeFolder
) -> None:
    make_folder(tmp_path, {"stdin": "file", "text": "another"})
    url = web.serve("/a.txt", b"web")

    ref = store.combine([tmp_path / "stdin", tmp_path / "text", io.BytesIO(b"piped"), url, url, "a literal text"])

    assert store.load(ref) == {
        "stdin": "file", "text": "another",
        "stdin (2)": "piped", url: "web", f"{url} (2)": "web", "text (2)": "a literal text",
    }  # fmt: skip
    assert ref.source == ""  # the stream is gone


def test_a_long_list_of_sources_is_not_kept(store: ContextStore, tmp_path: Path, make_folder: MakeFolder) -> None:
    files = [f"{number:03}" * 30 for number in range(100)]
    make_folder(tmp_path / "docs", dict.fromkeys(files, "text"))

    ref = store.combine([tmp_path / "docs" / name for name in files])

    assert (ref.parts, ref.source) == (100, "")


def test_what_cannot_be_combined_is_refused(store: ContextStore, tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path, {"a.txt": "A"})

    with pytest.raises(InputError, match="of type dict cannot be combined"):
        store.combine([tmp_path / "a.txt", {"a": "b"}])
