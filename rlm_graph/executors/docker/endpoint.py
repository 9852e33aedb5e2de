"""Where the Docker daemon is, and the keys to it: as the docker command finds it, unless the settings name one."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlm_graph.errors import SetupError

if TYPE_CHECKING:
    from docker.tls import TLSConfig

DEFAULT_URL = "unix:///var/run/docker.sock"
DEFAULT_CONTEXT = "default"
_LIST = "`docker context ls` lists those there are"


class Endpoint(NamedTuple):
    """A daemon's address."""

    url: str
    """`unix://PATH`, `tcp://HOST:PORT` or `ssh://[USER@]HOST[:PORT]`."""
    tls: TLSConfig | None = None

    def tls_context(self) -> ssl.SSLContext | None:
        """Return what a stream of our own is encrypted with. Raises `OSError` if a certificate cannot be read."""
        if self.tls is None:
            return None
        context = ssl.create_default_context(cafile=self.tls.ca_cert or None)
        if not self.tls.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.tls.cert:
            context.load_cert_chain(*self.tls.cert)
        return context


def find_endpoint(address: str | None) -> Endpoint:
    """Return the daemon at `address`, or else that of `DOCKER_HOST`, `DOCKER_CONTEXT` or the current context, in turn.

    Raises `SetupError` if what they name is no address, or a context that is not there.
    """
    import docker.errors
    from docker.utils import kwargs_from_env

    try:
        given = kwargs_from_env()
        if address or given.get("base_url"):
            return Endpoint(_plain(address or given["base_url"], given.get("tls")), given.get("tls"))
        url, tls = _context(_folder())
        return Endpoint(_plain(url, tls), tls)
    except docker.errors.DockerException as error:
        raise SetupError(
            f"the address of the Docker daemon is of no use: {error}; correct `host` or DOCKER_HOST"
        ) from error


def _folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _context(folder: Path) -> tuple[str, TLSConfig | None]:
    # The SDK looks for contexts beside `config.json`, and without that file, which only a login or a choice of context
    # writes, in the current folder. Layout: docker/cli, `cli/context/store`.
    from docker.tls import TLSConfig

    name = os.environ.get("DOCKER_CONTEXT") or _read(folder / "config.json").get("currentContext") or DEFAULT_CONTEXT
    if name == DEFAULT_CONTEXT:
        return DEFAULT_URL, None
    digest = hashlib.sha256(name.encode()).hexdigest()
    found = _read(folder / "contexts" / "meta" / digest / "meta.json").get("Endpoints", {}).get("docker")
    if found is None:
        raise SetupError(f"there is no Docker context {name!r} for a daemon; {_LIST}")
    keys = folder / "contexts" / "tls" / digest / "docker"
    ca, cert, key = (str(keys / file) if (keys / file).exists() else None for file in ("ca.pem", "cert.pem", "key.pem"))
    skip = bool(found.get("SkipTLSVerify"))
    if not (ca or cert or skip):
        return found.get("Host") or DEFAULT_URL, None
    pair = (cert, key) if cert and key else None
    return found.get("Host") or DEFAULT_URL, TLSConfig(client_cert=pair, ca_cert=ca, verify=not skip)


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SetupError(f"Docker's own settings in {path} cannot be read: {error}; {_LIST}") from error
    return read if isinstance(read, dict) else {}


def _plain(url: str, tls: TLSConfig | None) -> str:
    """Return an address with a scheme and a port, in the words that the docker command uses."""
    from docker.utils import parse_host

    parsed = str(parse_host(url, tls=tls is not None))
    for prefix in ("http+unix://", "https://", "http://"):
        if parsed.startswith(prefix):
            return ("unix://" if "unix" in prefix else "tcp://") + parsed.removeprefix(prefix)
    return parsed
