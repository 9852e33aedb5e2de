"""Models on this machine, for a user who has named none."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlm_graph.errors import SetupError

if TYPE_CHECKING:
    from rlm_graph.models.local_servers import LocalServer
    from rlm_graph.settings import Settings

SHOWN = 3
"""Models of a server that are offered; `rlm-graph doctor` lists more."""


def need_model(settings: Settings) -> None:
    """Raise `SetupError` if no model is set, with the flags for models that are served on this machine."""
    from rlm_graph.models.local_servers import find_servers
    from rlm_graph.runs.building import model_of

    try:
        model_of(settings)
    except SetupError as error:
        offers = offered(asyncio.run(find_servers()), at_most=SHOWN)
        if offers:
            error.problem += f"; on this machine there are: {'  or  '.join(offers)}"
        raise


def offered(servers: Sequence[LocalServer], *, at_most: int) -> list[str]:
    """Return the flags that name the models of these servers, `at_most` of each server."""
    return [flags(server, name) for server in servers for name in server.models[:at_most]]


def flags(server: LocalServer, name: str) -> str:
    """Return the flags for a model of the server."""
    model, url = server.model(name)
    return shlex.join(["-m", model, *([] if url is None else ["--base-url", url])])
