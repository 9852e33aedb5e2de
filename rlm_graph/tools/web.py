"""The tool `web_fetch`: a page of the web as text, from the hosts that the settings allow and no others."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from langchain_core.tools import BaseTool, StructuredTool

from rlm_graph.errors import SetupError
from rlm_graph.settings import ToolSettings

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_TEXT = re.compile(r"text/|application/(.*\+)?(json|xml|javascript|yaml|x-ndjson)\b", re.ASCII)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def web_fetch(settings: ToolSettings) -> BaseTool:
    """Return the tool that fetches a page. Raises `SetupError` if no host is allowed."""
    if not settings.web_hosts:
        raise SetupError('tool web_fetch: no host may be asked; name some, as in tools.web_hosts = ["example.org"]')

    async def web_fetch(url: str, raw: bool = False) -> str:
        try:
            async with asyncio.timeout(settings.web_timeout_s):
                return await _Visit(settings).fetch(url, raw=raw)
        except TimeoutError:
            raise TimeoutError(f"{_shown(url)} took more than {settings.web_timeout_s:g} s") from None

    hosts = "any public host" if "*" in settings.web_hosts else ", ".join(settings.web_hosts)
    return StructuredTool.from_function(
        coroutine=web_fetch,
        description="Fetch a page by its http or https URL and return its text; HTML as Markdown with its links, or "
        f"with raw=True its source. Allowed: {hosts}.",
        metadata={"version": version("rlm-graph")},
    )


class _Visit:
    """One fetch. Every address is checked before it is asked, and asked as it was checked."""

    def __init__(self, settings: ToolSettings) -> None:
        self._settings = settings

    async def fetch(self, url: str, *, raw: bool) -> str:
        """Return the page's text.

        Raises `PermissionError` for what is not allowed, `ValueError` for what is no text or too large, `OSError` for
        what cannot be had.
        """
        import httpx

        for _ in range(MAX_REDIRECTS + 1):
            try:
                target = httpx.URL(url)
                # No proxy of the environment, which would resolve names itself; no cookies from one hop to the next.
                async with httpx.AsyncClient(trust_env=False, timeout=self._settings.web_timeout_s) as client:
                    response = await client.send(await self._request(client, target), stream=True)
                    if not response.has_redirect_location:
                        return await self._text(response, str(target), raw=raw)
                    url = str(target.join(response.headers["location"]))
                    await response.aclose()
            except httpx.InvalidURL as error:
                raise ValueError(f"{_shown(url)} is no URL: {error}") from None
            except httpx.HTTPError as error:
                raise OSError(f"{_shown(url)} cannot be fetched: {str(error) or type(error).__name__}") from None
        raise OSError(f"{_shown(url)}: more than {MAX_REDIRECTS} redirects")

    async def _request(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Request:
        """Address the request to what the host's name stands for now: asked again, it might stand for another."""
        if url.scheme not in _PORTS:
            raise PermissionError(f"{_shown(str(url))} is not allowed: only http and https are")
        if url.userinfo:
            raise PermissionError("a URL with a user or password is not allowed")
        host, port = url.raw_host.decode("ascii").lower().rstrip("."), url.port or _PORTS[url.scheme]
        if not _is_allowed(host, port, _PORTS[url.scheme], self._settings.web_hosts):
            raise PermissionError(f"{_shown(str(url))} is not allowed; see tools.web_hosts")
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise OSError(f"{host} cannot be found: {error}") from None
        addresses = [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]
        if not self._settings.web_private and not all(map(_is_public, addresses)):
            raise PermissionError(f"{host} leads into this machine or a private network; see tools.web_private")
        headers = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        return client.build_request(
            "GET", url.copy_with(host=str(addresses[0])), headers=headers, extensions={"sni_hostname": host}
        )

    async def _text(self, response: httpx.Response, url: str, *, raw: bool) -> str:
        shown = _shown(url)
        if not response.is_success:
            raise OSError(f"{shown} answered {response.status_code} {response.reason_phrase}".strip())
        kind = response.headers.get("content-type", "text/plain").lower()
        if not _TEXT.match(kind):
            raise ValueError(f"{shown} is no text but {kind[:100]}")
        data = bytearray()
        async for block in response.aiter_bytes():
            data += block
            if len(data) > self._settings.web_max_bytes:
                raise ValueError(f"{shown} is larger than {self._settings.web_max_bytes:,} bytes")
        try:
            text = data.decode(response.charset_encoding or "utf-8", "replace")
        except LookupError:  # a character set that there is not
            text = data.decode("utf-8", "replace")
        return text if raw or "html" not in kind else await asyncio.to_thread(self._readable, text, url)

    def _readable(self, source: str, url: str) -> str:
        from rlm_graph.tools.markdown import markdown

        most = self._settings.web_max_bytes
        try:
            text = markdown(source, url)
            if len(text.encode()) > most:
                raise ValueError(f"it is larger than {most:,} bytes as Markdown")
        except ValueError as error:
            raise ValueError(f"{_shown(url)} cannot be shown: {error}; raw=True returns its source") from error
        return text


def _is_allowed(host: str, port: int, usual: int, allowed: Sequence[str]) -> bool:
    bracketed = f"[{host}]" if ":" in host else host
    for entry in allowed:
        pattern, _, given = entry.rpartition(":") if re.search(r":[0-9]+$", entry) else (entry, "", "")
        if port != int(given or usual):
            continue
        pattern = pattern.lower()
        if pattern in ("*", bracketed) or (pattern.startswith("*.") and host.endswith(pattern[1:])):
            return True
    return False


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        # Each of these carries an IPv4 address, which is where it leads.
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast


def _shown(url: str) -> str:
    """Return a URL without the user and password in it, and not longer than a line."""
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"[:200]
