"""HTTP connections to model servers: kept for each event loop, closed with it, forgotten by a forked process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
import ssl
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from rlm_graph.errors import ModelError, SetupError

if TYPE_CHECKING:
    from aiohttp import ClientSession

KEEP_S = 50.0
"""Seconds that an idle connection is kept. Servers close theirs after 60 or more; a few after less, which is seen."""


@dataclass(frozen=True)
class _Kept:
    loop: asyncio.AbstractEventLoop
    session: ClientSession
    closing: AsyncGenerator[None, None]
    """Runs on the loop until the loop shuts its asynchronous generators down, as `asyncio.run` does at its end."""


_lock = threading.Lock()
_kept: dict[int, _Kept] = {}
_inherited: list[_Kept] = []
"""Of the process that this one was forked from: neither used nor closed here, for the sockets are its."""


async def session() -> ClientSession:
    """Return the client of the running event loop, with its connections."""
    loop = asyncio.get_running_loop()
    kept = _kept.get(id(loop))
    if kept is None or kept.loop is not loop or kept.session.closed:
        kept = await _opened(loop)
    return kept.session


async def _opened(loop: asyncio.AbstractEventLoop) -> _Kept:
    from aiohttp import ClientSession, DummyCookieJar, TCPConnector, TraceConfig

    trace = TraceConfig(_attempt_of)  # type: ignore[arg-type]  # any callable does
    trace.on_request_headers_sent.append(_sent)
    connector = TCPConnector(limit=0, keepalive_timeout=KEEP_S, ssl=_tls())
    # Proxies are named by `proxy_for`: with `trust_env`, aiohttp would take keys from a `.netrc` file too.
    client = ClientSession(connector=connector, cookie_jar=DummyCookieJar(), trace_configs=[trace])
    kept = _Kept(loop, client, _close_with_its_loop(client))
    with _lock:
        _drop_ended()
        _kept[id(loop)] = kept
    await anext(kept.closing)
    return kept


def _attempt_of(trace_request_ctx: Any = None) -> Any:
    return trace_request_ctx


async def _sent(client: ClientSession, attempt: Any, told: Any) -> None:
    """Note on the attempt that the provider may be at work from now on."""
    if attempt is not None:
        attempt.sent = True


async def _close_with_its_loop(client: ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        with _lock:
            for key in [key for key, kept in _kept.items() if kept.session is client]:
                del _kept[key]
        await client.close()


def _drop_ended() -> None:
    """Let go of the clients whose loops were closed without a word."""
    for key in [key for key, kept in _kept.items() if kept.loop.is_closed()]:
        _silence(_kept.pop(key))


def _silence(kept: _Kept) -> None:
    """Let the client be collected without a complaint that it was not closed: it cannot be any more."""
    connector: Any = kept.session.connector
    kept.session.detach()
    if connector is not None:
        connector._closed = True
    # Its loop is gone or another process's: the transports' own sockets close as they are collected.


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_kept.values())
    _kept.clear()
    for kept in _inherited:
        with contextlib.suppress(Exception):
            _silence(kept)


os.register_at_fork(after_in_child=_after_fork)


@functools.lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Trust what the system trusts and what certifi lists; or what `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE` names."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(name):
            try:
                folder = os.path.isdir(path)
                return ssl.create_default_context(cafile=None if folder else path, capath=path if folder else None)
            except (OSError, ssl.SSLError) as error:
                raise ModelError(f"the certificates in {name} ({path}) cannot be read: {error}") from error
    import certifi

    context = ssl.create_default_context(capath=os.environ.get("SSL_CERT_DIR") or None)
    context.load_verify_locations(certifi.where())
    return context


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for the URL (`HTTPS_PROXY`, `ALL_PROXY`, but not `NO_PROXY`).

    `NO_PROXY` may hold networks (`10.0.0.0/8`). Raises `ModelError` for a proxy that is no HTTP proxy.
    """
    parts = urlsplit(url)
    proxy = _variable(f"{parts.scheme}_proxy") or _variable("all_proxy")
    if not proxy:
        return None
    direct = _variable("no_proxy")
    host = parts.netloc.rpartition("@")[2]
    if proxy_bypass_environment(host, {"no": direct}) or _in_a_network(parts.hostname or "", direct):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in {"http", "https"}:
        raise ModelError(f"the proxy {without_password(proxy)} is no HTTP proxy; name one in HTTPS_PROXY, or none")
    return proxy


def without_password(url: str) -> str:
    """Return the URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _variable(name: str) -> str:
    # Not by `urllib.request.getproxies`, which walks the whole environment: that is a third of a request's cost.
    if name == "http_proxy" and "REQUEST_METHOD" in os.environ:
        return os.environ.get(name, "")  # in a CGI program, HTTP_PROXY is a header of whoever asks
    return os.environ.get(name) or os.environ.get(name.upper(), "")


def _in_a_network(host: str, networks: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for network in networks.split(","):
        with contextlib.suppress(ValueError):
            if "/" in network and address in ipaddress.ip_network(network.strip(), strict=False):
                return True
    return False


def check_key_log() -> None:
    """Raise `SetupError` if `SSLKEYLOGFILE` names a file that cannot be written: TLS libraries say less of it."""
    path = os.environ.get("SSLKEYLOGFILE")
    if not path:
        return
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        raise SetupError(f"SSLKEYLOGFILE ({path}) cannot be written: {error.strerror}; unset it") from error
