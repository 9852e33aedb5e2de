"""The base of every executor that runs our supervisor in its sandboxes: attach, rebuild, list and end, in any place."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.host.bundle import version
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.host.sandboxes import ListedSandbox, Sandbox, look_at
from rlm_graph.executors.host.stream import LinkLost
from rlm_graph.state import ReplHandle

LOOK_S = 0.1
"""Between two attempts to attach to a REPL that another process is just starting."""
_NAME = re.compile(r"[0-9a-f]{16}")


class SupervisedExecutor(abc.ABC):
    """An `Executor` whose REPLs live in sandboxes of one place, each under a supervisor that outlives its owner.

    A place says how a sandbox is found (`has`, `find`, `list`), started (`start`), reached (`repl`) and ended (`end`).
    All else is the same everywhere: the REPL that a handle names is attached to, or else the REPL of the given name,
    or else a fresh one is started; a sandbox that is of no use any more is ended on the way. Where nobody can tell
    whether a sandbox works (`LinkLost`), it is left alone and the error leaves.
    """

    kind: str
    begin_s = 0.0
    """Seconds that another process has, from when its sandbox is found by name, to start the supervisor there. Zero
    where `find` or the connection wait for that."""
    ends_abandoned_starts = False
    """Whether a sandbox whose start was given up, by a cancel for instance, is ended at once. Elsewhere its supervisor
    ends it when nobody has come for a while, or the next who wants the name finds it ready."""

    # What a place does

    @abc.abstractmethod
    def repl(self, handle: ReplHandle, tools: Sequence[str] = ()) -> SupervisedRepl:
        """Return the REPL of that handle, not attached to: how its supervisor is connected to, how contexts get there.

        The connection raises `OSError` if nothing is there or listens, `LinkLost` if that cannot be told.
        """

    @abc.abstractmethod
    async def has(self, handle: ReplHandle) -> bool:
        """Whether the sandbox that the handle names is there and is that REPL's: if it is of no use, it is ended."""

    @abc.abstractmethod
    async def find(self, name: str) -> str | None:
        """Return the address of the sandbox of the REPL of that name, if there is one, whoever started it."""

    @abc.abstractmethod
    async def start(self, name: str, tools: Sequence[str]) -> SupervisedRepl | None:
        """Make a sandbox for a REPL of that name and start its supervisor; return the REPL, not attached to.

        None if another process was faster: `find` then finds its sandbox. A start that fails or is cancelled leaves
        nothing, or what ends by itself. Raises `SetupError`, `ExecutorError`.
        """

    @abc.abstractmethod
    async def list(self) -> Sequence[ListedSandbox]:
        """Return the sandboxes of this place, of all owners, without connecting to any."""

    @abc.abstractmethod
    async def end(self, handle: ReplHandle) -> None:
        """End the sandbox and remove all it left, if it is there. Raises `ExecutorError` if that cannot be done."""

    # What a place may do

    def version(self) -> str:
        """Return the digest of what runs in a sandbox: two owners with equal ones can share a REPL."""
        return version()

    async def discard(self, handle: ReplHandle) -> None:
        """End a sandbox that is of no use."""
        await self.end(handle)

    async def detached(self, handle: ReplHandle) -> None:  # noqa: B027  # most places need nothing
        """Do what the place needs when an owner has left a sandbox that lives on."""

    async def no_start(self, name: str, error: Exception) -> Exception:
        """Return what to raise where a supervisor could not be attached to just after its start, because of `error`."""
        return ExecutorError(f"the {self.kind} sandbox did not start: {error}")

    async def glance(self, handle: ReplHandle) -> SupervisedRepl:
        """Return the REPL for one who only asks how it is. Raises `OSError` if there is none."""
        return self.repl(handle)

    # What is the same everywhere

    @contextlib.asynccontextmanager
    async def attached(
        self, handle: ReplHandle | None, *, name: str | None = None, tools: Sequence[str] = ()
    ) -> AsyncIterator[SupervisedRepl]:
        """See `Executor.attached`."""
        repl = await self._by_handle(handle, tools) if handle is not None else None
        if repl is None and name is not None:
            repl = await self._by_name(name, tools)
        while repl is None:
            repl = await self._started(secrets.token_hex(8), tools)
        try:
            yield repl
        finally:
            await repl.detach()
            await self.detached(repl.handle)

    async def close(self, handle: ReplHandle) -> None:
        """End the REPL and remove all it left. Idempotent."""
        if await self._has(handle):
            await self.end(handle)

    async def sandboxes(self) -> Sequence[Sandbox]:
        """Return the REPLs of this place, whoever started them."""
        return await asyncio.gather(*(look_at(listed, self.glance) for listed in await self.list()))

    def handle(self, name: str, address: str, *, version: str | None = None) -> ReplHandle:
        """Return the handle of a REPL at that address, by default of this version."""
        return ReplHandle(
            kind=self.kind, id=name, address=address, worker_version=self.version() if version is None else version
        )

    async def _has(self, handle: ReplHandle) -> bool:
        # What a handle names is ended if it is of no use, so it must be a REPL of ours.
        return handle.kind == self.kind and _NAME.fullmatch(handle.id) is not None and await self.has(handle)

    async def _by_handle(self, handle: ReplHandle, tools: Sequence[str]) -> SupervisedRepl | None:
        """Attach to the REPL of a handle. None if its sandbox is gone, or was of no use and has been ended."""
        if not await self._has(handle):
            return None
        repl = await self._attach(self.repl(handle, tools))
        if repl is None:
            await self.discard(handle)
        return repl

    async def _by_name(self, name: str, tools: Sequence[str]) -> SupervisedRepl:
        """Attach to the REPL of that name, or start it. Several may ask at once: one of them starts it."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"a REPL's name is 16 hex digits, not {name!r}")
        while True:
            address = await self.find(name)
            if address is not None and (repl := await self._begun(self.handle(name, address), tools)):
                return repl
            if repl := await self._started(name, tools):
                return repl

    async def _begun(self, handle: ReplHandle, tools: Sequence[str]) -> SupervisedRepl | None:
        """Attach to a REPL that another process may just be starting. None if nothing comes of it: it is then ended."""
        patience = time.monotonic() + self.begin_s
        while (repl := await self._attach(self.repl(handle, tools))) is None:
            if time.monotonic() >= patience:
                await self.end(handle)
                return None
            await asyncio.sleep(LOOK_S)
            if not await self.has(handle):
                return None
        return repl

    async def _started(self, name: str, tools: Sequence[str]) -> SupervisedRepl | None:
        """Start the REPL of that name and attach to it. None if another process was faster."""
        repl = await self.start(name, tools)
        if repl is None:
            return None
        try:
            await repl.attach()
        except BaseException as error:
            await repl.detach()
            useless = _is_of_no_use(error)
            if useless or self.ends_abandoned_starts:
                await self.discard(repl.handle)
            if useless and isinstance(error, Exception):
                raise await self.no_start(name, error) from error
            raise
        return repl

    async def _attach(self, repl: SupervisedRepl) -> SupervisedRepl | None:
        """Attach to a REPL and return it. None if it is of no use; raises `LinkLost` where nobody can tell."""
        try:
            await repl.attach()
        except BaseException as error:
            await repl.detach()
            if _is_of_no_use(error):
                return None
            raise
        return repl


def _is_of_no_use(error: BaseException) -> bool:
    """Whether an error of `attach` says that the sandbox will not serve any more, rather than that nobody can tell."""
    return isinstance(error, OSError | ExecutorError) and not isinstance(error, LinkLost)
