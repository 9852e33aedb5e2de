"""A REPL in a sandbox of E2B: its supervisor runs there as a command of its own, and outlives the host."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rlm_graph.errors import ExecutorError, RLMError
from rlm_graph.executors.base import Serve
from rlm_graph.executors.e2b.cloud import HOST, REPL, VERSION, Cloud, CloudLost, SandboxGone
from rlm_graph.executors.e2b.relay import Input, Output, open_relay
from rlm_graph.executors.e2b.sandbox import context_folder, relay_command, start_supervisor, upload
from rlm_graph.executors.host.bundle import version
from rlm_graph.executors.host.repl import ContextMissing, SupervisedRepl
from rlm_graph.executors.host.sandboxes import Sandbox, looked_at
from rlm_graph.executors.host.stream import Writer
from rlm_graph.settings import E2BSettings
from rlm_graph.state import Cell, ContextRef, Execution, ReplHandle

if TYPE_CHECKING:
    from e2b import AsyncSandbox, SandboxInfo

BEGIN_S = 30.0
"""Seconds that another process has to start the supervisor in a sandbox that it has made."""
LOOK_S = 0.1
GLANCE_S = 60
"""Seconds that a sandbox goes on at least which somebody only looks at."""
SAMPLE_S = 5.0
"""How often E2B looks at what a sandbox uses."""
_NAME = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Patience(NamedTuple):
    """How long host and supervisor need not hear each other, in seconds."""

    silence_s: float = 20.0
    """After which the supervisor is asked whether it can be heard."""
    answer_s: float = 20.0
    """That it then has to answer."""
    gone_s: float = 120.0
    """Without a word, after which a relay takes its host for gone. E2B's agent keeps the input of a relay open when
    nobody is there to write to it; the REPL would be taken for one that is in use."""


PATIENCE = Patience()


class E2BExecutor:
    """Makes a sandbox for each REPL, marked with its name. Host and supervisor speak through a relay in it.

    A sandbox that no host has come to for a while is paused with its memory, and woken by the next one.
    """

    kind = "e2b"

    def __init__(self, settings: E2BSettings | None = None, *, patience: Patience = PATIENCE) -> None:
        self._settings = settings or E2BSettings()
        self._cloud = Cloud(self._settings)
        self._patience = patience

    @property
    def cell_timeout_s(self) -> float:
        """Seconds that a cell may compute."""
        return self._settings.cell_timeout_s

    @property
    def declared(self) -> dict[str, str]:
        """Behaviours of the conformance list that it cannot show: none."""
        return {}

    @contextlib.asynccontextmanager
    async def attached(
        self, handle: ReplHandle | None, *, name: str | None = None, tools: Sequence[str] = ()
    ) -> AsyncIterator[SandboxRepl]:
        """See `Executor.attached`."""
        repl = await self._found(handle, tools) if handle is not None else None
        if repl is None:
            repl = await self._fresh(secrets.token_hex(8), tools) if name is None else await self._named(name, tools)
        try:
            yield repl
        finally:
            await repl.leave()
            await self._cloud.leave(repl.handle.address)

    async def close(self, handle: ReplHandle) -> None:
        """End the REPL and remove all it left. Idempotent."""
        if handle.kind == self.kind and await self._cloud.has(handle.address, handle.id):
            await self._cloud.kill(handle.address)

    async def sandboxes(self) -> Sequence[Sandbox]:
        """Return the REPLs of this account, of all hosts. Those that are paused are not woken for it."""
        return await asyncio.gather(*(self._looked_at(info) for info in await self._cloud.list()))

    async def _looked_at(self, info: SandboxInfo) -> Sandbox:
        handle = self._handle(info.metadata[REPL], info.sandbox_id)
        handle = handle.model_copy(update={"worker_version": info.metadata.get(VERSION, "")})
        created, host = info.started_at.timestamp(), info.metadata.get(HOST, "")
        if info.state.value == "paused":  # its time was over then
            idle_s = max(time.time() - info.end_at.timestamp(), 0.0)
            return Sandbox(handle=handle, state="idle", created=created, host=host, idle_s=idle_s)
        try:
            sandbox = await self._cloud.connect(info.sandbox_id, timeout_s=GLANCE_S)
        except SandboxGone:
            return Sandbox(handle=handle, state="dead", created=created, host=host)
        repl = SandboxRepl(self._cloud, handle, (), self._patience, sandbox)
        return await looked_at(repl, created=created, host=host)

    async def _found(self, handle: ReplHandle, tools: Sequence[str]) -> SandboxRepl | None:
        """Attach to the REPL of a handle. None if it is gone, or cannot be used and was removed."""
        # What a handle names is ended if it cannot be used, so it must be ours.
        if handle.kind != self.kind or not await self._cloud.has(handle.address, handle.id):
            return None
        repl = await self._attach(handle, tools)
        if repl is None:
            await self._cloud.end(handle.address)
        return repl

    async def _named(self, name: str, tools: Sequence[str]) -> SandboxRepl:
        """Attach to the REPL of that name, or start it.

        E2B lets any number of sandboxes have one name. Of several that were made at once the oldest is taken, by all
        who look, and the others are ended.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"a REPL's name is 16 hex digits, not {name!r}")
        there = await self._cloud.list(name)
        if not there:
            sandbox = await self._cloud.create(name)
            try:
                there = await self._cloud.list(name)
            except BaseException:
                await self._cloud.end(sandbox.sandbox_id)
                raise
            if not there or there[0].sandbox_id == sandbox.sandbox_id:
                return await self._started(sandbox, name, tools)
            await self._cloud.end(sandbox.sandbox_id)
        repl = await self._begun(self._handle(name, there[0].sandbox_id), tools)
        return repl or await self._fresh(name, tools)

    async def _begun(self, handle: ReplHandle, tools: Sequence[str]) -> SandboxRepl | None:
        """Attach to a REPL that another process may just be starting. None if nothing comes of it."""
        patience = time.monotonic() + BEGIN_S
        while await self._cloud.has(handle.address, handle.id):
            if repl := await self._attach(handle, tools):
                return repl
            if time.monotonic() > patience:
                await self._cloud.kill(handle.address)
            await asyncio.sleep(LOOK_S)
        return None

    async def _fresh(self, name: str, tools: Sequence[str]) -> SandboxRepl:
        return await self._started(await self._cloud.create(name), name, tools)

    async def _started(self, sandbox: AsyncSandbox, name: str, tools: Sequence[str]) -> SandboxRepl:
        """Start the REPL in a sandbox that was made for it, which is ended if that fails."""
        repl = SandboxRepl(self._cloud, self._handle(name, sandbox.sandbox_id), tools, self._patience, sandbox)
        try:
            await start_supervisor(sandbox, name, self._settings)
            await repl.attach()
        except BaseException as error:
            await repl.leave()
            await self._cloud.end(sandbox.sandbox_id)
            if isinstance(error, OSError):
                raise ExecutorError(f"the sandbox did not start: {error}; resume the run to try again") from error
            raise
        return repl

    async def _attach(self, handle: ReplHandle, tools: Sequence[str]) -> SandboxRepl | None:
        """Attach to a REPL. None if it cannot be used; raises `CloudLost` where that is not known."""
        repl = SandboxRepl(self._cloud, handle, tools, self._patience)
        try:
            await repl.attach()
        except BaseException as error:
            await repl.leave()
            if isinstance(error, OSError | ExecutorError) and not isinstance(error, CloudLost):
                return None
            raise
        return repl

    def _handle(self, name: str, sandbox_id: str) -> ReplHandle:
        return ReplHandle(kind=self.kind, id=name, address=sandbox_id, worker_version=version())


class SandboxRepl(SupervisedRepl):
    """A REPL in a sandbox: it is given a context by sending it there, and asked from time to time whether it is heard.

    A connection that is cut without a word would else be waited for without end.
    """

    def __init__(
        self,
        cloud: Cloud,
        handle: ReplHandle,
        tools: Sequence[str],
        patience: Patience,
        sandbox: AsyncSandbox | None = None,
    ) -> None:
        """`sandbox` is given by those who have just made it."""
        super().__init__(handle, self._dial, tools=tools)
        self._cloud = cloud
        self._sandbox = sandbox
        self._patience = patience
        self._output: Output | None = None
        self._input: Input | None = None
        self._listening: asyncio.Task[None] | None = None

    async def attach(self) -> None:
        """See `SupervisedRepl.attach`. A sandbox that is paused is woken. Raises `CloudLost` if E2B does not answer."""
        await super().attach()
        self._listening = asyncio.create_task(self._listen())

    async def leave(self) -> None:
        """Detach for good: a stream that breaks is detached from too, before another is opened."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.detach()

    async def run(
        self,
        cell: Cell,
        *,
        number: int,
        serve: Serve,
        timeout_s: float,
        started_at: float | None = None,
        branch: str = "",
    ) -> Execution:
        """See `Repl.run`. Of a cell that E2B had time to look at, the peak of memory is that of the whole sandbox."""
        begun = datetime.now().astimezone()
        execution = await super().run(
            cell, number=number, serve=serve, timeout_s=timeout_s, started_at=started_at, branch=branch
        )
        if execution.wall_s < SAMPLE_S:
            return execution
        peak = await self._cloud.peak_memory(self.handle.address, begun - timedelta(seconds=SAMPLE_S))
        return execution.model_copy(update={"peak_memory_bytes": max(execution.peak_memory_bytes, peak)})

    async def add_context(self, number: int, context: ContextRef, *, folder: Path) -> None:
        """See `Repl.add_context`. What was sent once is used again, whoever gives it, and under whatever number."""
        if not _DIGEST.fullmatch(context.sha256):
            raise ValueError(f"no digest of a context: {context.sha256!r}")
        name = f"{context.kind}-{context.sha256}"
        try:
            await self.add_context_from(number, context_folder(name))
        except ContextMissing:
            if self._sandbox is None:
                raise
            await upload(self._sandbox, name, folder)
            await self.add_context_from(number, context_folder(name))

    async def _dial(self) -> tuple[Output, Writer]:
        last = self._input
        if self._sandbox is None or last is not None:
            self._sandbox = await self._cloud.connect(self.handle.address)
        self._output, self._input = await open_relay(
            self._sandbox, relay_command(self._patience.gone_s), instead_of=last
        )
        return self._output, self._input

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(self._patience.silence_s)
            output, heard = self._output, self._heard()
            try:
                # Whatever is heard of it: the relay must hear something, too.
                await self._request({"op": "look"}, timeout_s=self._patience.answer_s)
            except RLMError:
                if self._heard() == heard and output is self._output and output is not None:
                    output.end(f"the sandbox was not heard for {self._patience.answer_s:g} s")

    def _heard(self) -> int:
        return 0 if self._output is None else self._output.received
