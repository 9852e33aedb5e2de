"""What `web_fetch` promises: text from allowed hosts, and no way around that. The web is a server on loopback."""

from __future__ import annotations

import gzip
import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from rlm_graph.errors import SetupError
from rlm_graph.fetching import Resolve, resolve
from rlm_graph.fetching.addresses import is_public
from rlm_graph.settings import ToolSettings
from rlm_graph.state import SubcallReply
from rlm_graph.tools import HostFunction, use
from rlm_graph.tools.web import _is_allowed, web_fetch

PAGE = (
    "<html><head><title>Pumps</title><style>p { color: red }</style></head><body><script>steal()</script>"
    "<h1>The&nbsp;pump</h1><p>Made in <b>Trieste</b>, see <a href='more?q=1'>more</a>.</p>"
    "<ul><li>one<li>two</ul></body></html>"
)
DEEP = "<blockquote>" * 20_000 + "bottom"
CROWDED = "<br>" * 200_000
LONG = "<ul><li>" * 9 + "<pre>" + "x\n" * 2_000


class Web(ThreadingHTTPServer):
    daemon_threads = True
    port: int
    asked: list[tuple[str, str]]


class Pages(BaseHTTPRequestHandler):
    server: Web

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["host"], self.path))
        path, _, argument = self.path.partition("?")
        port = self.server.port
        if path == "/to":
            self.answer(302, location=argument.replace("PORT", str(port)))
        elif path == "/round":
            self.answer(307, location="/round")
        elif path == "/html":
            self.answer(200, PAGE.encode(), "text/html; charset=utf-8")
        elif path in ("/deep", "/crowded", "/long"):
            page = {"/deep": DEEP, "/crowded": CROWDED, "/long": LONG}[path]
            self.answer(200, page.encode(), "application/xhtml+xml")
        elif path == "/latin":
            self.answer(200, "Zürich".encode("latin-1"), "text/plain; charset=iso-8859-1")
        elif path == "/odd":
            self.answer(200, b"odd", "text/plain; charset=no-such-charset")
        elif path == "/png":
            self.answer(200, b"\x89PNG", "image/png")
        elif path == "/large":
            self.answer(200, b"x" * 5_000, "text/plain")
        elif path == "/bomb":
            self.answer(200, gzip.compress(b"0" * 3_000_000), "text/plain", encoding="gzip")
        elif path == "/zstd":
            self.answer(200, b"\x28\xb5\x2f\xfd", "text/plain", encoding="zstd")
        elif path == "/slow":
            self.answer(200, b"", "text/plain", length=10)
            threading.Event().wait(20)
        elif path == "/gone":
            self.answer(404)
        elif path == "/rude":
            self.wfile.write(b"220 smtp.example.org\r\n")
        else:
            self.answer(200, b"plain", "text/plain")

    def answer(
        self, status: int, body: bytes = b"", kind: str = "text/plain", *, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header({"encoding": "content-encoding"}.get(name, name), value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web(("127.0.0.1", 0), Pages)
    server.port, server.asked = server.server_address[1], []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


async def fetch(
    web: Web, url: str, hosts: tuple[str, ...] = ("localhost:PORT",), *, names: Resolve = resolve, **options: Any
) -> SubcallReply:
    arguments = {"url": url.replace("PORT", str(web.port)), **options.pop("arguments", {})}
    allowed = tuple(host.replace("PORT", str(web.port)) for host in hosts)
    settings = ToolSettings(**{"web_hosts": allowed, "web_private": True, "web_max_bytes": 4_000, **options})
    return await use(HostFunction(web_fetch(settings, resolve=names)), arguments, timeout_s=60)


async def test_a_page_is_markdown_with_its_links_and_its_source_on_request(web: Web) -> None:
    seen = await fetch(web, "http://localhost:PORT/html")
    source = await fetch(web, "http://localhost:PORT/html", arguments={"raw": True})

    assert seen.value == (
        f"Pumps\n\n# The pump\n\nMade in **Trieste**, see [more](http://localhost:{web.port}/more?q=1).\n\n- one\n- two"
    )
    assert source.value == PAGE
    assert web.asked[0] == (f"localhost:{web.port}", "/html")


async def test_a_page_made_to_break_its_reader_is_shown_or_refused_and_its_source_is_there(web: Web) -> None:
    deep = await fetch(web, "http://localhost:PORT/deep", web_max_bytes=1_000_000)
    crowded = await fetch(web, "http://localhost:PORT/crowded", web_max_bytes=1_000_000)
    long = await fetch(web, "http://localhost:PORT/long", web_max_bytes=5_000)
    source = await fetch(web, "http://localhost:PORT/long", web_max_bytes=5_000, arguments={"raw": True})

    assert str(deep.value).endswith("bottom")
    assert (crowded.error_type, long.error_type, source.value) == ("ValueError", "ValueError", LONG)
    assert "/crowded cannot be shown: it has more than 100,000 tags; raw=True returns its source" in str(crowded.error)
    assert "/long cannot be shown: it is larger than 5,000 bytes as Markdown; raw=True" in str(long.error)


@pytest.mark.parametrize(("path", "text"), [("/latin", "Zürich"), ("/odd", "odd"), ("/?q=1#part", "plain")])
async def test_text_is_read_in_the_charset_that_the_server_declares(web: Web, path: str, text: str) -> None:
    assert (await fetch(web, f"http://localhost:PORT{path}")).value == text


async def test_redirects_are_followed_as_far_as_hosts_are_allowed(web: Web) -> None:
    inside = await fetch(web, "http://localhost:PORT/to?/html")
    outside = await fetch(web, "http://localhost:PORT/to?http://127.0.0.1:PORT/secret")
    elsewhere = await fetch(web, "http://localhost:PORT/to?file:///etc/passwd")
    round_and_round = await fetch(web, "http://localhost:PORT/round")

    assert "Trieste" in str(inside.value)
    assert outside.error_type == elsewhere.error_type == "PermissionError"
    assert "more than 5 redirects" in str(round_and_round.error)
    assert "/secret" not in [path for _, path in web.asked]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:PORT/",
        "http://localhost:1/",
        "http://localhost/",
        "http://localhost.evil.example:PORT/",
        "http://evil.example#localhost:PORT/",
        "http://user:secret@localhost:PORT/",
        "http://localhost:PORT@evil.example/",
        "ftp://localhost:PORT/",
        "file:///etc/passwd",
        "gopher://localhost:PORT/",
        "localhost:PORT",
        "",
    ],
)
async def test_what_is_not_allowed_is_not_asked(web: Web, url: str) -> None:
    reply = await fetch(web, url)

    assert reply.error_type == "PermissionError"
    assert "secret" not in str(reply.error)
    assert web.asked == []


@pytest.mark.parametrize("url", ["http://[::1", "http://localhost:99999/", "http://a b/", "http://\x00/"])
async def test_what_is_no_url_is_told(web: Web, url: str) -> None:
    assert (await fetch(web, url)).error_type in ("ValueError", "PermissionError")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "127.1", "[::1]", "0.0.0.0"])
async def test_private_addresses_are_refused_in_every_notation_unless_they_are_allowed(web: Web, host: str) -> None:
    reply = await fetch(web, f"http://{host}:PORT/", hosts=("*:PORT",), web_private=False)

    assert reply.error_type in ("PermissionError", "OSError")
    assert web.asked == []


async def test_what_a_name_stands_for_is_asked_once_and_that_address_is_connected_to(web: Web) -> None:
    asked: list[str] = []

    def names(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.2", "127.0.0.1"]  # nothing listens at the first

    reply = await fetch(web, "http://pages.example:PORT/", hosts=("pages.example:PORT",), names=names)

    assert (reply.value, asked) == ("plain", ["pages.example"])
    assert web.asked == [(f"pages.example:{web.port}", "/")]


async def test_a_name_that_stands_for_a_private_address_beside_a_public_one_is_refused(web: Web) -> None:
    hosts, names = ("pages.example:PORT",), lambda host, port: ["93.184.216.34", "127.0.0.1"]

    reply = await fetch(web, "http://pages.example:PORT/", hosts=hosts, names=names, web_private=False)

    assert reply.error_type == "PermissionError"
    assert "leads into this machine or a private network; see tools.web_private" in str(reply.error)


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/large", "ValueError", "larger than 4,000 bytes"),
        ("/bomb", "ValueError", "larger than 4,000 bytes"),
        ("/zstd", "ValueError", "packed as 'zstd', which was not asked for"),
        ("/png", "ValueError", "is no text but image/png"),
        ("/gone", "OSError", "answered 404"),
        ("/rude", "OSError", "cannot be fetched"),
    ],
)
async def test_answers_have_bounds(web: Web, path: str, kind: str, words: str) -> None:
    reply = await fetch(web, f"http://localhost:PORT{path}")

    assert reply.error_type == kind
    assert words in str(reply.error)


async def test_a_server_that_is_slow_is_given_up(web: Web) -> None:
    reply = await fetch(web, "http://localhost:PORT/slow", web_timeout_s=0.5)

    assert reply.error_type == "TimeoutError"
    assert "took more than 0.5 s" in str(reply.error)


async def test_no_proxy_of_the_environment_is_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy")

    assert (await fetch(web, "http://localhost:PORT/")).value == "plain"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fd00::1", False),
        ("fe80::1", False),
    ],
)
def test_addresses_of_this_machine_and_its_networks_are_known(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    ("host", "port", "allowed", "yes"),
    [
        ("example.org", 443, ("example.org",), True),
        ("www.example.org", 443, ("example.org",), False),
        ("www.example.org", 443, ("*.example.org",), True),
        ("evilexample.org", 443, ("*.example.org",), False),
        ("example.org", 8080, ("example.org",), False),
        ("example.org", 8080, ("Example.ORG:8080",), True),
        ("anything.example", 443, ("*",), True),
        ("::1", 443, ("[::1]",), True),
    ],
)
def test_hosts_are_allowed_by_name_domain_and_port(host: str, port: int, allowed: tuple[str, ...], yes: bool) -> None:
    assert _is_allowed(host, port, 443, allowed) is yes


def test_without_a_host_there_is_nothing_to_fetch() -> None:
    with pytest.raises(SetupError, match="no host may be asked"):
        web_fetch(ToolSettings())
    with pytest.raises(ValidationError):
        ToolSettings(web_hosts=("http://example.org/",))
