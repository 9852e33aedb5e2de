"""A URL becomes the text of the file behind it, or one line that says why not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.context import URL, ContextStore
from rlm_graph.context.items import UrlItem
from rlm_graph.context.sources import from_source
from rlm_graph.errors import InputError
from rlm_graph.settings import ContextSettings

Entries = Callable[[], list[str]]
MakeFolder = Callable[[Path, dict[str, str | bytes]], Path]


def trusted(address: str) -> URL:
    """The address of a server on loopback."""
    return URL(address, trusted=True)


def test_a_url_is_fetched(store: ContextStore, web: Any) -> None:
    url = web.serve("/a.txt", "naïve\r\n".encode() * 300_000)

    ref = store.take(trusted(url))

    assert store.load(ref) == "naïve\r\n" * 300_000
    assert (ref.kind, ref.source, ref.notes) == ("str", url, ())
    assert from_source(url, ContextSettings()).items == [UrlItem(None, URL(url))]


def test_a_record_does_not_say_that_its_url_is_trusted(store: ContextStore, web: Any) -> None:
    ref = store.take(trusted(web.serve("/a", b"text")))
    store.forget(ref)

    with pytest.raises(InputError, match=r"leads into this machine or a private network; .* give the context again"):
        store.restore(ref)
    assert web.asked == ["/a"]


@pytest.mark.parametrize(
    ("declared", "body", "text", "notes"),
    [
        ("text/plain; charset=windows-1251", "мир".encode("cp1251"), "мир", ("decoded from Windows-1251",)),
        ("text/plain; charset=utf-8", "мир".encode(), "мир", ()),
        ("text/plain; charset=ascii", b"\xe9", "é", ("decoded as Windows-1252 because it is not ASCII or UTF-8",)),
        ("text/plain; charset=zlib", "é".encode(), "é", ()),
        ("text/plain; charset=no-such", "é".encode(), "é", ()),
        ("text/plain; charset=utf-16", b"ab", "ab", ("decoded as UTF-8 because it is not UTF-16",)),
        ("text/plain; charset=latin-1", "\ufeffé".encode(), "é", ("its byte order mark was dropped",)),
    ],
)
def test_the_declared_character_set_is_believed_if_it_fits(
    store: ContextStore, web: Any, declared: str, body: bytes, text: str, notes: tuple[str, ...]
) -> None:
    ref = store.take(trusted(web.serve("/a.txt", body, Content_Type=declared)))

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

    assert small_store.load(small_store.take(trusted(web.url + "/2"))) == "the end"
    for path, reason in (("/3", "could not be fetched: more than 2 redirects"), ("/file", "only http and https are")):
        with pytest.raises(InputError, match=reason):
            small_store.take(trusted(web.url + path))


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
        small_store.take(trusted(url))

    assert entries() == []
    assert small_store.take(trusted(web.serve("/b", body[:-1]))).chars == 100_000


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
            store.take(trusted(url))

    assert entries() == []


def test_a_password_in_a_url_is_used_and_not_kept(store: ContextStore, web: Any) -> None:
    url = web.serve("/a", b"text").replace("http://", "http://user:secret@")

    ref = store.take(trusted(url))

    assert ref.source == web.url + "/a"
    with pytest.raises(InputError) as caught:
        store.take(trusted(url + "/gone"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["gopher://example.com/1", "ftp://me:secret@example.com/a", "S3://bucket/key"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="is not supported; give an http, https or file URL, or a path") as caught:
        URL(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["", "example.org", "https://a b", "https:x", "/etc/passwd"])
def test_what_is_no_url_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="is no URL; give one such as https://"):
        URL(address)


def test_a_file_url_is_refused_for_there_are_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names a file of this machine; give a Path"):
        URL((tmp_path / "a.txt").as_uri())


def test_a_url_shows_no_password() -> None:
    url = URL("https://user:secret@example.org/a?b=c@d", trusted=True)

    assert (str(url), repr(url)) == (
        "https://example.org/a?b=c@d", "URL('https://example.org/a?b=c@d', trusted=True)"
    )  # fmt: skip


class Names:
    """What hosts stand for, and how often each was asked for."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.addresses:
            raise OSError("no such name")
        return self.addresses[host]


def test_a_url_that_leads_inside_is_not_asked(tmp_path: Path, web: Any) -> None:
    names = Names(inside_example=["127.0.0.1"], both_example=["93.184.216.34", "::ffff:10.0.0.1"])
    names.addresses |= {host: [host] for host in ("127.0.0.1", "169.254.169.254")}
    store = ContextStore(tmp_path / "store", resolve=names)

    for host in ("inside.example", "both.example", "127.0.0.1", "169.254.169.254"):
        with pytest.raises(InputError, match=f"{host} leads into this machine or a private network; give its content"):
            store.take(URL(web.url.replace("127.0.0.1", host) + "/secret"))

    assert web.asked == []


def test_a_trusted_url_reaches_its_own_host_and_what_it_redirects_to_is_checked_again(tmp_path: Path, web: Any) -> None:
    names = Names(intranet_example=["127.0.0.1"], elsewhere_example=["127.0.0.1"])
    store = ContextStore(tmp_path / "store", resolve=names)
    own, elsewhere = (web.url.replace("127.0.0.1", host) for host in ("intranet.example", "elsewhere.example"))
    web.serve("/text", b"the text")
    web.serve("/own", b"", status=302, Location=own + "/text")
    web.serve("/relative", b"", status=307, Location="/text")
    web.serve("/out", b"", status=302, Location=elsewhere + "/secret")
    web.serve("/port", b"", status=302, Location="http://intranet.example:9/secret")

    for path in ("/text", "/own", "/relative"):
        assert store.load(store.take(URL(own + path, trusted=True))) == "the text"
    for path in ("/out", "/port"):
        with pytest.raises(InputError, match="leads into this machine or a private network"):
            store.take(URL(own + path, trusted=True))
    assert "/secret" not in web.asked


def test_the_address_that_was_checked_is_the_one_that_is_asked(tmp_path: Path, web: Any) -> None:
    names = Names(rebound_example=["127.0.0.1"])
    store = ContextStore(tmp_path / "store", resolve=names)

    store.take(URL(web.serve("/a", b"text").replace("127.0.0.1", "rebound.example"), trusted=True))

    assert names.asked == ["rebound.example"]  # a second answer could be another address


def test_an_address_that_does_not_answer_is_followed_by_the_next(tmp_path: Path, web: Any) -> None:
    store = ContextStore(tmp_path / "store", resolve=Names(two_example=["127.0.0.2", "127.0.0.1"]))

    assert store.load(store.take(URL(web.serve("/a", b"text").replace("127.0.0.1", "two.example"), trusted=True)))


def test_a_password_goes_to_the_host_that_it_was_given_for_alone(tmp_path: Path, web: Any) -> None:
    names = Names(a_example=["127.0.0.1"])
    store = ContextStore(tmp_path / "store", resolve=names)
    own = web.url.replace("127.0.0.1", "me:secret@a.example")
    web.serve("/here", b"", status=302, Location="/text")
    web.serve("/there", b"", status=302, Location="http://user:theirs@a.example:80/text")
    web.serve("/text", b"text")

    store.take(URL(own + "/here", trusted=True))
    with pytest.raises(InputError):
        store.take(URL(own + "/there", trusted=True))

    assert web.passwords == ["Basic bWU6c2VjcmV0"] * 3  # here, the text, there


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, zstd", "gzip, gzip, gzip, gzip"])
def test_a_body_that_is_packed_as_nobody_asked_is_refused(store: ContextStore, web: Any, name: str) -> None:
    """Zstandard makes 3 GB of 33 kB in one step: nothing is unpacked that cannot be bounded."""
    url = web.serve("/a", b"\x28\xb5\x2f\xfd" * 10, Content_Encoding=name)

    with pytest.raises(InputError, match=r"could not be fetched: the answer is packed"):
        store.take(trusted(url))


def test_a_server_is_asked_for_no_packing_that_cannot_be_bounded(store: ContextStore, web: Any) -> None:
    store.take(trusted(web.serve("/a", b"text")))

    assert web.accepted == ["gzip, deflate"]


def test_a_proxy_of_the_environment_serves_trusted_urls_alone(
    store: ContextStore, web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", web.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    web.serve("http://behind.invalid/a", b"by proxy")
    web.serve("http://behind.invalid/b", b"", status=302, Location="http://127.0.0.1:9/secret")

    assert store.load(store.take(trusted("http://behind.invalid/a"))) == "by proxy"
    with pytest.raises(InputError, match=r"behind\.invalid cannot be found"):
        store.take(URL("http://behind.invalid/a"))
    with pytest.raises(InputError, match=r"127\.0\.0\.1 leads into this machine"):
        store.take(trusted("http://behind.invalid/b"))
    assert web.asked == ["http://behind.invalid/a", "http://behind.invalid/b"]
