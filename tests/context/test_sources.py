"""What may be given as a context, and what each becomes."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError

Entries = Callable[[], list[str]]


# --- Texts ---------------------------------------------------------------------------------------------------------


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


# --- Files and folders ---------------------------------------------------------------------------------------------


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


def make_folder(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_a_folder_is_a_dict_of_its_texts_by_path_in_order(store: ContextStore, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "docs", {"b/c.txt": "C", "a.md": "A", "b.txt": "B", "b/a/z.txt": "Z", "empty": ""})

    ref = store.take(folder)

    loaded = store.load(ref)
    assert isinstance(loaded, dict)
    assert loaded == {"a.md": "A", "b.txt": "B", "b/a/z.txt": "Z", "b/c.txt": "C", "empty": ""}
    assert list(loaded) == sorted(loaded)
    assert (ref.kind, ref.source, ref.notes) == ("dict", str(folder), ())


def test_a_folder_leaves_out_and_counts_what_is_hidden_or_binary(store: ContextStore, tmp_path: Path) -> None:
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
        ".env, .git, .venv and 2 more: left out because it is hidden, or belongs to version control or a cache",
        "l.txt: decoded as latin-1 because it is not UTF-8",
        "late.bin, x/y.so: left out because it is binary",
    }


def test_a_folder_is_not_left_through_links_nor_stuck_in_them(store: ContextStore, tmp_path: Path) -> None:
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
    public_folder: Path, without_rights: Callable[[], AbstractContextManager[None]]
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


def test_names_that_are_no_text_are_kept_and_noted_in_print(store: ContextStore, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\n.txt")
    folder = make_folder(tmp_path / "docs", {odd: b"\xe9"})

    ref = store.take(folder)

    assert store.load(ref) == {odd: "é"}
    assert ref.notes == (r"\udcff\n.txt: decoded as latin-1 because it is not UTF-8",)


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
    store: ContextStore, tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    (tmp_path / "docs").mkdir()

    with pytest.raises(InputError, match=message):
        store.take(make_folder(tmp_path / "docs", files))


# --- Several -------------------------------------------------------------------------------------------------------


def test_one_alone_is_what_it_is_by_itself(store: ContextStore, tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.txt": "A", "docs/b.txt": "B"})

    assert store.load(store.combine([tmp_path / "a.txt"])) == "A"
    assert store.load(store.combine([tmp_path / "docs"])) == {"b.txt": "B"}
    ref = store.take("text")
    assert store.combine([ref]) is ref
    with pytest.raises(InputError, match="no context was given"):
        store.combine([])


def test_several_are_named_by_their_path_from_the_folder_that_holds_all(store: ContextStore, tmp_path: Path) -> None:
    make_folder(tmp_path, {"docs/b.txt": "B", "docs/c/a.txt": "C", "a.txt": "A", "more/a.txt": "M"})
    given = [tmp_path / "docs", tmp_path / "a.txt", tmp_path / "more" / "a.txt"]

    ref = store.combine(given)

    assert store.load(ref) == {"docs/b.txt": "B", "docs/c/a.txt": "C", "a.txt": "A", "more/a.txt": "M"}
    assert ref.source.split("\n") == list(map(str, given))
    assert store.take(given) == ref


def test_what_is_given_twice_is_there_once_even_if_it_is_binary(store: ContextStore, tmp_path: Path) -> None:
    make_folder(tmp_path, {"docs/a.txt": "A", "docs/b.bin": b"\0"})

    ref = store.combine([tmp_path / "docs", tmp_path / "docs" / "b.bin", tmp_path / "docs" / ".." / "docs" / "a.txt"])

    assert store.load(ref) == {"docs/a.txt": "A", "docs/b.bin": "\0"}


def test_names_that_would_collide_get_a_number(store: ContextStore, tmp_path: Path, web: Any) -> None:
    make_folder(tmp_path, {"stdin": "file", "text": "another"})
    url = web.serve("/a.txt", b"web")

    ref = store.combine([tmp_path / "stdin", tmp_path / "text", io.BytesIO(b"piped"), url, url, "a literal text"])

    assert store.load(ref) == {
        "stdin": "file", "text": "another",
        "stdin (2)": "piped", url: "web", f"{url} (2)": "web", "text (2)": "a literal text",
    }  # fmt: skip
    assert ref.source == ""  # the stream is gone


def test_a_long_list_of_sources_is_not_kept(store: ContextStore, tmp_path: Path) -> None:
    files = [f"{number:03}" * 30 for number in range(100)]
    make_folder(tmp_path / "docs", dict.fromkeys(files, "text"))

    ref = store.combine([tmp_path / "docs" / name for name in files])

    assert (ref.parts, ref.source) == (100, "")


def test_what_cannot_be_combined_is_refused(store: ContextStore, tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.txt": "A"})

    with pytest.raises(InputError, match="of type dict cannot be combined"):
        store.combine([tmp_path / "a.txt", {"a": "b"}])


# --- URLs ----------------------------------------------------------------------------------------------------------


def test_a_url_is_fetched(store: ContextStore, web: Any) -> None:
    url = web.serve("/a.txt", "naïve\r\n".encode() * 300_000)

    ref = store.take(url)

    assert store.load(ref) == "naïve\r\n" * 300_000
    assert (ref.kind, ref.source, ref.notes) == ("str", url, ())
    store.forget(ref)
    assert store.restore(ref) is ref


@pytest.mark.parametrize(
    ("declared", "body", "text", "notes"),
    [
        ("text/plain; charset=windows-1251", "мир".encode("cp1251"), "мир", ("decoded from CP1251",)),
        ("text/plain; charset=utf-8", "мир".encode(), "мир", ()),
        ("text/plain; charset=ascii", b"\xe9", "é", ("decoded as latin-1 because it is not ASCII or UTF-8",)),
        ("text/plain; charset=zlib", "é".encode(), "é", ()),
        ("text/plain; charset=no-such", "é".encode(), "é", ()),
        ("text/plain; charset=utf-16", b"ab", "ab", ("decoded as utf-8 because it is not UTF-16",)),
        ("text/plain; charset=latin-1", "\ufeffé".encode(), "é", ("its byte order mark was dropped",)),
    ],
)
def test_the_declared_character_set_is_believed_if_it_fits(
    store: ContextStore, web: Any, declared: str, body: bytes, text: str, notes: tuple[str, ...]
) -> None:
    ref = store.take(web.serve("/a.txt", body, Content_Type=declared))

    assert (store.load(ref), ref.notes) == (text, notes)


def test_redirects_are_followed_but_not_for_ever_and_not_to_files(
    small_store: ContextStore, tmp_path: Path, web: Any
) -> None:
    (tmp_path / "secret").write_text("the secret")
    web.serve("/end", b"the end")
    web.serve("/1", b"", status=302, Location="/end")
    web.serve("/2", b"", status=302, Location="/1")
    web.serve("/3", b"", status=302, Location="/2")
    web.serve("/file", b"", status=302, Location=(tmp_path / "secret").as_uri())

    assert small_store.load(small_store.take(web.url + "/2")) == "the end"
    for path in ("/3", "/file"):
        with pytest.raises(InputError, match="could not be fetched"):
            small_store.take(web.url + path)


@pytest.mark.parametrize("how", ["honest", "compressed"])
def test_a_download_has_a_limit_whatever_its_headers_say(
    small_store: ContextStore, web: Any, entries: Entries, how: str
) -> None:
    import gzip

    body = b"a" * 100_001
    url = web.serve("/a", body) if how == "honest" else web.serve("/a", gzip.compress(body), Content_Encoding="gzip")

    with pytest.raises(
        InputError, match=r"is larger than 0\.10 MB; download it .* or raise contexts\.max_download_bytes"
    ):
        small_store.take(url)

    assert entries() == []
    assert small_store.take(web.serve("/b", body[:-1])).chars == 100_000


def test_a_failed_download_is_refused_and_leaves_nothing(store: ContextStore, web: Any, entries: Entries) -> None:
    short = web.serve("/short", b"half", Content_Length="1000000")
    bad = web.serve("/bad", b"no gzip", Content_Encoding="gzip")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    for url, message in [
        (web.url + "/gone", "answered 404 Not Found; check the address"),
        (web.serve("/broken", b"", status=500), "answered 500"),
        (short, "could not be fetched"),
        (bad, "could not be fetched"),
        (closed, "could not be fetched: .*; check the address and the network"),
        ("http://[::1/", "could not be fetched"),
        (web.serve("/empty", b""), "the context is empty: http"),
    ]:
        with pytest.raises(InputError, match=message):
            store.take(url)

    assert entries() == []


def test_a_password_in_a_url_is_used_and_not_kept(store: ContextStore, web: Any) -> None:
    url = web.serve("/a", b"text").replace("http://", "http://user:secret@")

    ref = store.take(url)

    assert ref.source == web.url + "/a"
    with pytest.raises(InputError) as caught:
        store.take(url + "/gone")
    assert "secret" not in str(caught.value)


def test_a_file_url_is_a_path(store: ContextStore, tmp_path: Path) -> None:
    make_folder(tmp_path, {"a b#.txt": "A", "docs/b.txt": "B"})

    assert store.load(store.take((tmp_path / "a b#.txt").as_uri())) == "A"
    assert store.load(store.take(f"file://localhost{tmp_path}/docs")) == {"b.txt": "B"}
    with pytest.raises(InputError, match="is on another machine"):
        store.take("file://elsewhere/a.txt")


@pytest.mark.parametrize("url", ["gopher://example.com/1", "ftp://me:secret@example.com/a", "S3://bucket/key"])
def test_other_schemes_are_refused(store: ContextStore, url: str) -> None:
    with pytest.raises(InputError, match="is not supported; give an http, https or file URL, or a path") as caught:
        store.take(url)

    assert "secret" not in str(caught.value)
