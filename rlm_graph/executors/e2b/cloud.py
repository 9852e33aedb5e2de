"""E2B's API: sandboxes are made, found, woken and ended there; what it says becomes our errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from rlm_graph.errors import ExecutorError, Hint, RLMError, SetupError
from rlm_graph.executors.host.bundle import version
from rlm_graph.executors.host.stream import LinkLost
from rlm_graph.settings import E2BSettings

if TYPE_CHECKING:
    from e2b import AsyncSandbox, SandboxInfo
    from e2b.connection_config import ApiParams

KEY = "E2B_API_KEY"
MARK = "rlm-graph"
"""In the metadata of all that is ours. The other marks begin with it."""
REPL, OWNER, VERSION = (f"{MARK}.{name}" for name in ("repl", "host", "version"))

END_PAUSES_S = (0.2, 1.0, 3.0)
"""Between attempts to end a sandbox that nobody will use."""


class CloudLost(LinkLost):
    """E2B cannot be asked, or not now. What its sandboxes do is not known."""


class SandboxGone(ConnectionRefusedError):
    """The sandbox has ended, or was paused while it was used."""


class Cloud:
    """An account at E2B. Nothing is kept between calls: the key is read from the environment for each of them."""

    def __init__(self, settings: E2BSettings) -> None:
        self._settings = settings

    async def create(self, name: str) -> AsyncSandbox:
        """Make a sandbox for the REPL of that name. Raises `SetupError` if E2B does not know the template."""
        sdk, params = _sdk(), self._params()
        settings = self._settings
        marks = {MARK: "1", REPL: name, OWNER: socket.gethostname(), VERSION: version()}
        with asked("make a sandbox", template=settings.template):
            making = asyncio.create_task(
                sdk.create(
                    settings.template,
                    timeout=settings.timeout_s,
                    metadata=settings.metadata | marks,
                    allow_internet_access=settings.allow_internet,
                    lifecycle={"on_timeout": "pause" if settings.pause else "kill"},
                    **params,
                )
            )
            try:
                return await asyncio.shield(making)
            except asyncio.CancelledError:
                # The request is under way: what comes of it would be paid for, and nobody would know of it.
                with contextlib.suppress(Exception):  # nothing came of it
                    await self.end((await making).sandbox_id)
                raise

    async def connect(self, sandbox_id: str, *, timeout_s: int | None = None) -> AsyncSandbox:
        """Come to a sandbox, which wakes it if it is paused. Raises `SandboxGone` if there is none.

        It then runs for `timeout_s` at least; by default as long as it may for an owner.
        """
        sdk, params = _sdk(), self._params()
        with asked("wake the sandbox"):
            return await sdk.connect(sandbox_id, timeout=timeout_s or self._settings.timeout_s, **params)

    async def list(self, name: str | None = None) -> list[SandboxInfo]:
        """Return our sandboxes, or those for the REPL of that name: running or paused, the oldest first."""
        sdk, params = _sdk(), self._params()
        from e2b import SandboxQuery

        found = []
        with asked("list sandboxes"):
            pages = sdk.list(query=SandboxQuery(metadata={MARK: "1"} if name is None else {REPL: name}), **params)
            while pages.has_next:
                found += await pages.next_items()
        ours = [info for info in found if _is_of(info, name or info.metadata.get(REPL, ""))]
        return sorted(ours, key=lambda info: (info.started_at, info.sandbox_id))

    async def has(self, sandbox_id: str, name: str) -> bool:
        """Tell whether there is such a sandbox, running or paused, and it is that of the REPL."""
        sdk, params = _sdk(), self._params()
        try:
            with asked("tell of the sandbox"):
                return _is_of(await sdk.get_info(sandbox_id, **params), name)
        except SandboxGone:
            return False

    async def kill(self, sandbox_id: str) -> None:
        """End a sandbox, unless it is gone already."""
        sdk, params = _sdk(), self._params()
        with asked("end the sandbox"):
            await sdk.kill(sandbox_id, **params)

    async def end(self, sandbox_id: str) -> None:
        """End a sandbox that nobody will use. If E2B cannot be told, that is tried again; what is left is logged."""
        pauses = iter(END_PAUSES_S)
        while True:
            try:
                await self.kill(sandbox_id)
            except SandboxGone:
                pass
            except RLMError as error:
                pause_s = next(pauses, None) if isinstance(error, CloudLost) else None
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
                    continue
                logging.getLogger(__name__).warning(
                    "the sandbox %s is left at E2B, which %s it after %g s: %s; "
                    "sweep() of rlm_graph.executors.sandbox_owners ends it",
                    sandbox_id, "pauses" if self._settings.pause else "ends", self._settings.timeout_s, error,
                )  # fmt: skip
            return

    async def leave(self, sandbox_id: str) -> None:
        """Let a sandbox run no longer than it may without an owner. If E2B cannot be told, it stops somewhat later."""
        if self._settings.idle_timeout_s >= self._settings.timeout_s:
            return
        sdk, params = _sdk(), self._params()
        with contextlib.suppress(SandboxGone, RLMError), asked("set the sandbox's time"):
            await sdk.set_timeout(sandbox_id, self._settings.idle_timeout_s, **params)

    async def peak_memory(self, sandbox_id: str, since: datetime) -> int:
        """Return the most memory in bytes that was seen in use in a sandbox; 0 if E2B does not tell."""
        sdk, params = _sdk(), self._params()
        with contextlib.suppress(SandboxGone, RLMError), asked("tell what the sandbox uses"):
            return max((seen.mem_used for seen in await sdk.get_metrics(sandbox_id, start=since, **params)), default=0)
        return 0

    def _params(self) -> ApiParams:
        if not os.environ.get(KEY):
            raise SetupError(f"the e2b executor needs a key of E2B: set {KEY}")
        settings = self._settings
        # Its debug mode makes no sandbox at all; only what is set here may decide on that.
        params: ApiParams = {"debug": False}
        if settings.domain:
            params["domain"] = settings.domain
        if settings.api_url:
            params["api_url"] = settings.api_url
        if settings.sandbox_url:
            params["sandbox_url"] = settings.sandbox_url
        return params


@contextlib.contextmanager
def asked(what: str, *, template: str | None = None) -> Iterator[None]:
    """Within it, what the SDK raises leaves as an error of ours that says what could not be done.

    `SandboxGone` if the sandbox is not there any more, `CloudLost` if E2B does not answer or has no room,
    `SetupError` if it refuses the key or the `template`, else `ExecutorError`. A cancel that the SDK lost is raised.
    """
    import e2b
    import httpx
    from connectrpc.errors import ConnectError

    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    try:
        yield
        if task and task.cancelling() > cancelled:
            # The SDK and what it stands on use `asyncio.wait_for`, which before Python 3.12 loses a cancel that comes
            # together with what is waited for.
            raise asyncio.CancelledError
    except (e2b.SandboxNotFoundException, e2b.SandboxNotRunningException, e2b.GuestUnresponsiveException) as error:
        raise SandboxGone(str(error)) from error
    except e2b.AuthenticationException:
        # Without its words and its cause: they may quote the key.
        raise SetupError(f"E2B refuses the key in {KEY}; set one that is valid for {what!r}") from None
    except (e2b.RateLimitException, e2b.ServiceBusyException) as error:
        raise CloudLost(f"E2B cannot {what} just now: {_words(error)}; wait a little, then resume the run") from error
    except e2b.NotEnoughSpaceException as error:
        raise ExecutorError(f"E2B cannot {what}: {_words(error)}; name a template with a larger disk") from error
    except (e2b.TimeoutException, httpx.TransportError, ConnectError) as error:
        raise CloudLost(
            f"E2B cannot be reached to {what}: {_words(error)}; look at the network, then resume the run"
        ) from error
    except e2b.SandboxException as error:
        if template is not None and error.status_code in (400, 403, 404):
            raise SetupError(f"E2B makes no sandbox of template {template!r}: {_words(error)}") from error
        raise ExecutorError(f"E2B cannot {what}: {_words(error)}") from error
    except (ValueError, KeyError) as error:
        raise ExecutorError(f"E2B cannot {what}: it answered what its SDK cannot read ({_words(error)})") from error


def _words(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _sdk() -> type[AsyncSandbox]:
    try:
        from e2b import AsyncSandbox
    except ImportError as error:
        raise SetupError("the e2b executor needs E2B's SDK", hint=Hint("install", "e2b")) from error
    return AsyncSandbox


def _is_of(info: SandboxInfo, name: str) -> bool:
    """Whether a sandbox is that of the REPL, and not somebody else's."""
    return MARK in info.metadata and info.metadata.get(REPL) == name
