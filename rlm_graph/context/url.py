"""The address of a file on the web, as a type of its own: no text is ever taken for one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from rlm_graph.errors import InputError
from rlm_graph.fetching import without_user

_FORM = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", re.ASCII)
MAX_URL_CHARS = 1 << 16


@dataclass(frozen=True, repr=False)
class URL:
    """The address of a file on the web, for a context: `URL("https://example.org/report.txt")`.

    It may lead to public addresses only, unless it is `trusted`: named by somebody who may reach whatever this machine
    reaches. Then its own host may be this machine or lie in a private network, and the proxies that the environment
    names are used; what it redirects to is checked all the same. Raises `InputError` for another scheme than http and
    https.
    """

    address: str
    trusted: bool = False

    def __post_init__(self) -> None:
        if not is_url(self.address):
            raise InputError(
                f"{without_user(self.address)[:200]!r} is no URL; give one such as https://example.org/report.txt"
            )
        if scheme(self.address) == "file":
            raise InputError(f"{self} names a file of this machine; give a Path")

    def __str__(self) -> str:
        """Return it without the user and password in it."""
        return without_user(self.address)

    def __repr__(self) -> str:
        return f"URL({str(self)!r}{', trusted=True' if self.trusted else ''})"


def is_url(text: str) -> bool:
    """Tell whether a text is nothing but a URL, of whatever scheme."""
    return len(text) <= MAX_URL_CHARS and text.isprintable() and _FORM.fullmatch(text) is not None


def scheme(url: str) -> str:
    """Return the scheme of a URL, or raise `InputError` if it is not one that is read."""
    name = url.partition("://")[0].lower()
    if name not in ("http", "https", "file"):
        raise InputError(
            f"{without_user(url)} cannot be read: {name} is not supported; give an http, https or file URL, or a path"
        )
    return name


def local_path(url: str) -> Path:
    """Return the path that a file URL names."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{url} is on another machine; give an http or https URL, or a path")
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))  # names of files need not be UTF-8
