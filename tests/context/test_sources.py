"""What may be given as a context, and what each becomes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rlm_graph.context import URL, ContextStore, Verbatim
from rlm_graph.errors import InputError
from rlm_graph.settings import ContextSettings

Entries = Callable[[], list[str]]
MakeFolder = Callable[[Path, dict[str, str | bytes]], Path]


@pytest.mark.parametrize(
    ("form", "note"),
    [
        ("path", "this text looks like a path, and no file was read; give a Path to have it read"),
        ("file", "this text looks like an address, and was not fetched; give a URL to have it fetched"),
        ("http", "this text looks like an address, and was not fetched; give a URL to have it fetched"),
    ],
)
def test_a_text_is_a_text_whatever_it_begins_with(
    store: ContextStore, tmp_path: Path, web: Any, form: str, note: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    text = {"path": str(secret), "file": secret.as_uri(), "http": web.serve("/secret", b"the secret")}[form]

    ref = store.take(text)

    assert (store.load(ref), ref.source, ref.notes) == (text, "", (note,))
    assert web.asked == []


def test_a_note_about_a_path_does_not_tell_whether_it_exists(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "there").touch()

    assert store.take(str(tmp_path / "there")).notes == store.take(str(tmp_path / "gone")).notes


@pytest.mark.parametrize(
    "text", ["see https://example.com", "https://a b", "one word", "word", "a\0b", "https://\ud800"]
)
def test_a_text_that_only_holds_an_address_has_no_note(store: ContextStore, text: str) -> None:
    ref = store.take(text)

    assert store.load(ref) == text
    assert ref.notes == () or "\ud800" in text


def test_json_names_addresses_and_paths_where_the_agent_allows_it(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path, {"a.txt": "A", "b.txt": "B"})
    store = ContextStore(tmp_path / "store", ContextSettings(sources=("path",)))
    a, b = str(tmp_path / "a.txt"), str(tmp_path / "b.txt")

    assert store.load(store.take({"path": a})) == "A"
    assert store.load(store.take({"path": [a, b]})) == {"a.txt": "A", "b.txt": "B"}
    with pytest.raises(InputError, match=r'contexts\.sources does not have "url"'):
        store.take({"url": "https://example.org/a"})


@pytest.mark.parametrize("form", ["url", "path"])
def test_json_names_nothing_by_default(store: ContextStore, tmp_path: Path, web: Any, form: str) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    given = {"url": web.serve("/secret", b"the secret"), "path": str(tmp_path / "secret.txt")}[form]

    for named in (given, [given], "a text", None):
        with pytest.raises(InputError, match=f'names what this agent does not read: .* another name than "{form}"'):
            store.take({form: named})
    assert web.asked == []


def test_json_reaches_public_addresses_alone(tmp_path: Path, web: Any) -> None:
    store = ContextStore(tmp_path / "store", ContextSettings(sources=("url",)))

    with pytest.raises(InputError, match="leads into this machine"):
        store.take({"url": web.serve("/secret", b"the secret")})
    with pytest.raises(InputError, match="needs a text there, or a list of texts"):
        store.take({"url": {"url": "https://example.org"}})
    with pytest.raises(InputError, match="names a file of this machine"):
        store.take({"url": "file:///etc/passwd"})
    assert web.asked == []


def test_a_dict_with_other_names_beside_is_a_dict_of_texts(tmp_path: Path, web: Any) -> None:
    store = ContextStore(tmp_path / "store", ContextSettings(sources=("url", "path")))
    given = {"url": web.serve("/a", b"text"), "title": "T"}

    assert store.load(store.take(given)) == given
    assert web.asked == []


def test_what_code_hands_over_names_nothing(tmp_path: Path, web: Any) -> None:
    store = ContextStore(tmp_path / "store", ContextSettings(sources=("url", "path")))

    assert store.load(store.take(Verbatim({"url": web.serve("/a", b"text")}))) == {"url": web.url + "/a"}
    assert web.asked == []


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
        (None, "a context cannot be of type NoneType; give a text, bytes, a Path"),
        (42, "of type int"),
        ({"a", "b"}, r"a set has no order, .* give sorted\(\.\.\.\)"),
        ({1: "a"}, "a name in the context is of type int"),
        ({"a": object()}, "the context's 'a' is of type object, which is no text and no JSON value; give a text"),
        ({"a": {"b": {1, 2}}}, "the context's 'a' holds a set, which is no text and no JSON value"),
        (["a", 2], "item 2 of the context is of type int, beside texts; give texts alone, or JSON values alone"),
        ([{"at": io.BytesIO()}], "item 1 of the context holds a BytesIO, which"),
        ([Path("b"), 2], "of type int cannot be combined|does not exist"),
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
    assert ref.notes == ("decoded as Windows-1252 because it is not UTF-8",)


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
    make_folder(tmp_path, {"docs/a.txt": "A", "docs/b.bin": b"\0"})  # a file of NULs is no more than that

    ref = store.combine([tmp_path / "docs", tmp_path / "docs" / "b.bin", tmp_path / "docs" / ".." / "docs" / "a.txt"])

    assert store.load(ref) == {"docs/a.txt": "A", "docs/b.bin": "\0"}


def test_names_that_would_collide_get_a_number(
    store: ContextStore, tmp_path: Path, web: Any, make_folder: MakeFolder
) -> None:
    make_folder(tmp_path, {"stdin": "file", "text": "another"})
    url = web.serve("/a.txt", b"web")

    ref = store.combine(
        [tmp_path / "stdin", tmp_path / "text", io.BytesIO(b"piped"), *[URL(url, trusted=True)] * 2, "a text"]
    )

    assert store.load(ref) == {
        "stdin": "file", "text": "another",
        "stdin (2)": "piped", url: "web", f"{url} (2)": "web", "text (2)": "a text",
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


def test_texts_go_with_files_and_addresses(store: ContextStore, tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path, {"a.txt": "A"})

    ref = store.take([tmp_path / "a.txt", "more", "http://127.0.0.1:9/x"])

    assert store.load(ref) == {"a.txt": "A", "text": "more", "text (2)": "http://127.0.0.1:9/x"}
    assert ref.notes == (
        "text (2): this text looks like an address, and was not fetched; give a URL to have it fetched",
    )
