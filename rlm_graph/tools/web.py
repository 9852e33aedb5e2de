"""The tool `web_fetch`: a page of the web as text, from the hosts that the settings allow and no others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from langchain_core.tools import BaseTool, StructuredTool

from rlm_graph.bridge import in_thread
from rlm_graph.errors import SetupError
from rlm_graph.fetching import REDIRECTS, Body, Guard, Origin, Resolve, TooLarge, resolve
from rlm_graph.fetching.body import ACCEPTED
from rlm_graph.fetching.guard import PORTS, shown
from rlm_graph.settings import ToolSettings

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
_TEXT = re.compile(r"text/|application/(.*\+)?(json|xml|javascript|yaml|x-ndjson)\b", re.ASCII)


def web_fetch(settings: ToolSettings, *, resolve: Resolve = resolve) -> BaseTool:
    """Return the tool that fetches a page. Raises `SetupError` if no host is allowed.

    `resolve` looks hosts up; what it returns is checked, and connected to.
    """
    if not settings.web_hosts:
        raise SetupError('tool web_fetch: no host may be asked; name some, as in tools.web_hosts = ["example.org"]')

    async def web_fetch(url: str, raw: bool = False) -> str:
        try:
            async with asyncio.timeout(settings.web_timeout_s):
                return await _Visit(settings, resolve).fetch(url, raw=raw)
        except TimeoutError:
            raise TimeoutError(f"{shown(url)} took more than {settings.web_timeout_s:g} s") from None

    hosts = "any public host" if "*" in settings.web_hosts else ", ".join(settings.web_hosts)
    return StructuredTool.from_function(
        coroutine=web_fetch,
        description="Fetch a page by its http or https URL and return its text; HTML as Markdown with its links, or "
        f"with raw=True its source. Allowed: {hosts}.",
        metadata={"version": version("rlm-graph")},
    )


class _Visit:
    """One fetch. Every address is checked before it is asked, and asked as it was checked."""

    def __init__(self, settings: ToolSettings, resolve: Resolve) -> None:
        self._settings = settings
        self._guard = Guard(lambda _: settings.web_private, resolve)

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
                    response = await self._ask(client, target)
                    location = response.headers.get("location")
                    if response.status_code not in REDIRECTS or location is None:
                        return await self._text(response, str(target), raw=raw)
                    url = str(target.join(location))
                    await response.aclose()
            except httpx.InvalidURL as error:
                raise ValueError(f"{shown(url)} is no URL: {error}") from None
            except httpx.HTTPError as error:
                raise OSError(f"{shown(url)} cannot be fetched: {str(error) or type(error).__name__}") from None
        raise OSError(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")

    async def _ask(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
        """Check a request and send it, to one after the other of the addresses that were checked."""
        import httpx

        origin = Origin.of(url)
        if url.userinfo:
            raise PermissionError("a URL with a user or password is not allowed")
        if not _is_allowed(origin.host, origin.port, PORTS[url.scheme], self._settings.web_hosts):
            raise PermissionError(f"{shown(url)} is not allowed; see tools.web_hosts")
        try:
            target = await in_thread(self._guard.target, url)
        except PermissionError as error:
            raise PermissionError(f"{error}; see tools.web_private") from None
        failed: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for request in target.requests(client, **{"Accept-Encoding": ACCEPTED}):
            try:
                return await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        assert failed is not None, "a target has an address"
        raise failed

    async def _text(self, response: httpx.Response, url: str, *, raw: bool) -> str:
        if not response.is_success:
            raise OSError(f"{shown(url)} answered {response.status_code} {response.reason_phrase}".strip())
        kind = response.headers.get("content-type", "text/plain").lower()
        if not _TEXT.match(kind):
            raise ValueError(f"{shown(url)} is no text but {kind[:100]}")
        data = await self._body(response, shown(url))
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
            raise ValueError(f"{shown(url)} cannot be shown: {error}; raw=True returns its source") from error
        return text

    async def _body(self, response: httpx.Response, url: str) -> bytes:
        body = Body(response.headers.get("content-encoding", ""), limit=self._settings.web_max_bytes)
        data = bytearray()
        try:
            async for block in response.aiter_raw():
                for piece in body.feed(block):
                    data += piece
        except TooLarge:
            raise ValueError(f"{url} is larger than {self._settings.web_max_bytes:,} bytes") from None
        body.end()
        return bytes(data)


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
