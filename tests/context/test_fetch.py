"""A URL becomes the text of the file behind it, or one line that says why not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError

Entries = Callable[[], list[str]]
MakeFolder = Callable[[Path, dict[str, str | bytes]], Path]


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


def test_a_file_url_is_a_path(store: ContextStore, tmp_path: Path, make_folder: MakeFolder) -> None:
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
