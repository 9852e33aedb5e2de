"""A file on the web, as blocks of bytes, under the guard of `rlm_graph.fetching`."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rlm_graph.context.memory import BLOCK, size_in_words
from rlm_graph.context.url import URL
from rlm_graph.errors import Hint, InputError
from rlm_graph.fetching import REDIRECTS, Body, Guard, Origin, Resolve, TooLarge
from rlm_graph.fetching.body import ACCEPTED
from rlm_graph.settings import ContextSettings

if TYPE_CHECKING:
    import httpx


class Download:
    """An answer that is being read: `charset` as the server declared it, and `blocks`, no more of them than allowed."""

    def __init__(self, url: URL, response: httpx.Response, limit: int) -> None:
        self.charset = response.charset_encoding
        self._url = url
        self._response = response
        self._limit = limit

    def blocks(self) -> Iterator[bytes]:
        """Yield the body, unpacked. Raises `InputError` where it is too large, `ValueError` where it is broken."""
        body = Body(self._response.headers.get("content-encoding", ""), limit=self._limit)
        try:
            for block in self._response.iter_raw(BLOCK):
                yield from body.feed(block)
        except TooLarge:
            raise InputError(
                f"{self._url} is larger than {size_in_words(self._limit)}; download it and give the file, "
                "or raise contexts.max_download_bytes"
            ) from None
        body.end()


@contextmanager
def download(url: URL, settings: ContextSettings, resolve: Resolve) -> Iterator[Download]:
    """Ask for `url` and follow its redirects. Whatever goes wrong, even half-way, is an `InputError`."""
    import httpx

    try:
        with ExitStack() as stack:
            response = _Visit(url, settings, resolve, stack).response()
            if not response.is_success:
                reply = f"{response.status_code} {response.reason_phrase}".strip()
                raise InputError(f"{url} answered {reply}; check the address")
            yield Download(url, response, settings.max_download_bytes)
    except PermissionError as error:
        hint = () if url.trusted else Hint("trust_url")
        raise InputError(f"{url} is not fetched: {error}", hint=hint) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{url} could not be fetched: {reason}; check the address and the network") from error


class _Visit:
    """One download, from the address that was given to the answer at the end of its redirects."""

    def __init__(self, url: URL, settings: ContextSettings, resolve: Resolve, stack: ExitStack) -> None:
        import httpx

        self._url = httpx.URL(url.address)
        self._named = Origin.of(self._url) if url.trusted else None
        self._settings = settings
        self._guard = Guard(self._is_exempt, resolve)
        self._stack = stack
        timeout, certificates = settings.request_timeout_s, httpx.create_ssl_context()
        self._direct = stack.enter_context(httpx.Client(trust_env=False, timeout=timeout, verify=certificates))
        self._proxied = stack.enter_context(httpx.Client(timeout=timeout, verify=certificates))

    def response(self) -> httpx.Response:
        """Return the answer, with its body still to be read. It is closed with the stack."""
        url = self._url
        for _ in range(self._settings.max_redirects + 1):
            response = self._ask(url)
            location = response.headers.get("location")
            if response.status_code not in REDIRECTS or location is None:
                self._stack.callback(response.close)
                return response
            response.close()
            url = url.join(location)
            if Origin.of(url) != Origin.of(self._url):  # a password goes to nobody but the one it was given for
                url = url.copy_with(username=None, password=None)
        raise OSError(f"more than {self._settings.max_redirects} redirects")

    def _ask(self, url: httpx.URL) -> httpx.Response:
        import httpx

        headers = {"Accept-Encoding": ACCEPTED}
        if self._named is not None and _has_proxy(url):
            # The proxy resolves the name, and may know names that this machine does not.
            if not self._is_exempt(Origin.of(url)):
                self._guard.check_if_known(url)
            return self._proxied.send(self._proxied.build_request("GET", url, headers=headers), stream=True)
        failed: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for request in self._guard.target(url).requests(self._direct, **headers):
            try:
                return self._direct.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        assert failed is not None, "a target has an address"
        raise failed

    def _is_exempt(self, origin: Origin) -> bool:
        """Tell whether `origin` is the host that was named: at its own port, or at one that a scheme stands for."""
        named = self._named
        return named is not None and origin.host == named.host and origin.port in (named.port, 80, 443)


def _has_proxy(url: httpx.URL) -> bool:
    proxies = urllib.request.getproxies()
    return (url.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(url.host)
