"""A file on the web, as blocks of bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from rlm_graph.context.memory import BLOCK, size_in_words
from rlm_graph.errors import InputError
from rlm_graph.settings import ContextSettings

if TYPE_CHECKING:
    import httpx

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", re.ASCII)

MAX_URL_CHARS = 1 << 16


def is_url(text: str) -> bool:
    """Tell whether a text is nothing but a URL, of whatever scheme."""
    return len(text) <= MAX_URL_CHARS and text.isprintable() and URL.fullmatch(text) is not None


def scheme(url: str) -> str:
    """Return the scheme of a URL, or raise `InputError` if it is not one that is read."""
    name = url.partition("://")[0].lower()
    if name not in ("http", "https", "file"):
        raise InputError(
            f"{bare(url)} cannot be read: {name} is not supported; give an http, https or file URL, or a path"
        )
    return name


def bare(url: str) -> str:
    """Return a URL without the user and password in it, for messages, checkpoints and the model."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is never closed
        return url.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def local_path(url: str) -> Path:
    """Return the path that a file URL names."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{url} is on another machine; give an http or https URL, or a path")
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))  # names of files need not be UTF-8


class Download:
    """An answer that is being read: `charset` as the server declared it, and `blocks`, no more of them than allowed."""

    def __init__(self, url: str, response: httpx.Response, limit: int) -> None:
        self.charset = response.charset_encoding
        self._url = url
        self._response = response
        self._limit = limit

    def blocks(self) -> Iterator[bytes]:
        """Yield the body. Its size is counted after decompression, whatever the headers claim."""
        total = 0
        for block in self._response.iter_bytes(BLOCK):
            total += len(block)
            if total > self._limit:
                raise InputError(
                    f"{bare(self._url)} is larger than {size_in_words(self._limit)}; download it and give the file, "
                    "or raise contexts.max_download_bytes"
                )
            yield block


@contextmanager
def download(url: str, settings: ContextSettings) -> Iterator[Download]:
    """Ask for `url` and follow its redirects. Whatever goes wrong, even half-way, is an `InputError`."""
    import httpx

    try:
        with (
            httpx.Client(
                follow_redirects=True, max_redirects=settings.max_redirects, timeout=settings.request_timeout_s
            ) as client,
            client.stream("GET", url) as response,
        ):
            if not response.is_success:
                reply = f"{response.status_code} {response.reason_phrase}".strip()
                raise InputError(f"{bare(url)} answered {reply}; check the address")
            yield Download(url, response, settings.max_download_bytes)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{bare(url)} could not be fetched: {reason}; check the address and the network") from error
