"""The guard before every request: it resolves the host, checks every address, and names the ones to connect to."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rlm_graph.fetching.addresses import is_public

if TYPE_CHECKING:
    import httpx

PORTS = {"http": 80, "https": 443}
REDIRECTS = frozenset({301, 302, 303, 307, 308})

Resolve = Callable[[str, int], Sequence[str]]
"""From a host and a port to the addresses that the host stands for, as text. Raises `OSError`. It may block."""


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as this machine knows them."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long
        raise OSError(str(error)) from None
    return [str(address[0]) for *_, address in found]


class Origin(NamedTuple):
    """Where a request goes: a host, in lower case and without brackets, and a port."""

    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Origin:
        """Return where a request for `url` goes. Raises `PermissionError` for another scheme than http and https."""
        if url.scheme not in PORTS:
            raise PermissionError(f"{shown(url)} is not allowed: only http and https are")
        return cls(url.raw_host.decode("ascii").lower().rstrip("."), url.port or PORTS[url.scheme])


@dataclass(frozen=True)
class Target:
    """One request that was allowed: `addresses` are the only ones that it may connect to."""

    url: httpx.URL
    host: str
    addresses: Sequence[str]

    def requests(self, client: httpx.Client | httpx.AsyncClient, **headers: str) -> list[httpx.Request]:
        """Return the request once for each address, to be tried in turn.

        The name of the host goes into the headers and into TLS, which checks the certificate against it, but nobody
        resolves it again: asked again, it might stand for another address.
        """
        headers = {"Host": self.url.netloc.decode("ascii"), **headers}
        extensions: dict[str, Any] = {"sni_hostname": self.host}
        return [
            client.build_request("GET", self.url.copy_with(host=address), headers=headers, extensions=extensions)
            for address in self.addresses
        ]


@dataclass(frozen=True)
class Guard:
    """What may be asked. An address of this machine or of a private network may not, but for an exempt origin."""

    exempt: Callable[[Origin], bool] = lambda _: False
    resolve: Resolve = resolve

    def target(self, url: httpx.URL) -> Target:
        """Check a request and return where to send it. Blocks while the host is resolved.

        A host of which one address is not public is refused as a whole. Raises `PermissionError` for what is not
        allowed, `OSError` for a host that cannot be found.
        """
        origin = Origin.of(url)
        try:
            addresses = list(dict.fromkeys(self.resolve(*origin)))
        except OSError as error:
            raise OSError(f"{origin.host} cannot be found: {error.strerror or error}") from None
        if not addresses:
            raise OSError(f"{origin.host} cannot be found: it has no address")
        if not self.exempt(origin) and not all(map(_is_public, addresses)):
            raise PermissionError(f"{origin.host} leads into this machine or a private network")
        return Target(url, origin.host, addresses)

    def check_if_known(self, url: httpx.URL) -> None:
        """Check a request that goes by name through a proxy: what this machine cannot resolve is left to the proxy."""
        try:
            self.target(url)
        except PermissionError:
            raise
        except OSError:
            pass


def _is_public(address: str) -> bool:
    return is_public(ipaddress.ip_address(address.partition("%")[0]))


def without_user(url: str) -> str:
    """Return a URL without the user and password in it, for messages, checkpoints and the model."""
    scheme, mark, rest = url.partition("://")
    ends = [end for end in map(rest.find, "/?#") if end >= 0]
    authority = rest[: min(ends, default=len(rest))]
    return scheme + mark + authority.rpartition("@")[2] + rest[len(authority) :]


def shown(url: httpx.URL | str) -> str:
    """Return a URL for a message: without a password, and not longer than a line."""
    return without_user(str(url))[:200]
