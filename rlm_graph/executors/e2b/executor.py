"""A REPL in a sandbox of E2B: its supervisor runs there as a command of its own, and outlives the owner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rlm_graph.errors import ExecutorError, RLMError
from rlm_graph.executors.base import Serve
from rlm_graph.executors.e2b.cloud import OWNER, REPL, VERSION, Cloud
from rlm_graph.executors.e2b.relay import RelayInput, RelayOutput, open_relay
from rlm_graph.executors.e2b.sandbox import CONTEXTS_FOLDER, relay_command, start_supervisor, upload
from rlm_graph.executors.host.executor import SupervisedExecutor
from rlm_graph.executors.host.repl import ContextUploads, SupervisedRepl
from rlm_graph.executors.host.sandboxes import ListedSandbox
from rlm_graph.executors.host.stream import Writer
from rlm_graph.settings import E2BSettings
from rlm_graph.state import Cell, Execution, ReplHandle

if TYPE_CHECKING:
    from e2b import AsyncSandbox, SandboxInfo

GLANCE_S = 60
"""Seconds that a sandbox goes on at least which somebody only looks at."""
SAMPLE_S = 5.0
"""How often E2B looks at what a sandbox uses."""


class Patience(NamedTuple):
    """How long owner and supervisor need not hear each other, in seconds."""

    silence_s: float = 20.0
    """After which the supervisor is asked whether it can be heard."""
    answer_s: float = 20.0
    """That it then has to answer."""
    gone_s: float = 120.0
    """Without a word, after which a relay takes the owner for gone. E2B's agent keeps the input of a relay open when
    nobody is there to write to it; the REPL would be taken for one that is in use."""


PATIENCE = Patience()


class E2BExecutor(SupervisedExecutor):
    """Makes a sandbox for each REPL, marked with the REPL's name. Owner and supervisor speak through a relay in it.

    A sandbox that no owner has come to for a while is paused with its memory, and woken by the next owner.
    """

    kind = "e2b"
    begin_s = 30.0
    ends_abandoned_starts = True  # a sandbox that runs is paid for

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

    def repl(self, handle: ReplHandle, tools: Sequence[str] = ()) -> E2BRepl:
        """See `SupervisedExecutor.repl`. To attach to it wakes a sandbox that is paused."""
        return E2BRepl(self._cloud, handle, tools, self._patience)

    async def has(self, handle: ReplHandle) -> bool:
        """See `SupervisedExecutor.has`. A sandbox that is paused is there."""
        return await self._cloud.has(handle.address, handle.id)

    async def find(self, name: str) -> str | None:
        """See `SupervisedExecutor.find`.

        E2B lets any number of sandboxes have one name. Of several that were made at once the oldest is taken, by all
        who look; `start` ends the others.
        """
        there = await self._cloud.list(name)
        return there[0].sandbox_id if there else None

    async def start(self, name: str, tools: Sequence[str]) -> E2BRepl | None:
        """See `SupervisedExecutor.start`. Whatever goes wrong on the way, the sandbox that was made is ended."""
        sandbox = await self._cloud.create(name)
        try:
            if not await self._is_first(sandbox.sandbox_id, name):
                await self._cloud.end(sandbox.sandbox_id)
                return None
            await start_supervisor(sandbox, name, self._settings)
        except BaseException as error:
            await self._cloud.end(sandbox.sandbox_id)
            if isinstance(error, OSError):
                raise await self.no_start(name, error) from error
            raise
        return E2BRepl(self._cloud, self.handle(name, sandbox.sandbox_id), tools, self._patience, sandbox)

    async def no_start(self, name: str, error: Exception) -> Exception:
        """See `SupervisedExecutor.no_start`."""
        return ExecutorError(f"the sandbox did not start: {error}; resume the run to try again")

    async def list(self) -> Sequence[ListedSandbox]:
        """See `SupervisedExecutor.list`. Those are the sandboxes of this account; none that is paused will be woken."""
        return [self._listed(info) for info in await self._cloud.list()]

    async def glance(self, handle: ReplHandle) -> E2BRepl:
        """See `SupervisedExecutor.glance`. The sandbox does not run longer for it than a glance takes."""
        sandbox = await self._cloud.connect(handle.address, timeout_s=GLANCE_S)
        return E2BRepl(self._cloud, handle, (), self._patience, sandbox)

    async def end(self, handle: ReplHandle) -> None:
        """See `SupervisedExecutor.end`."""
        await self._cloud.kill(handle.address)

    async def discard(self, handle: ReplHandle) -> None:
        """See `SupervisedExecutor.discard`. If E2B cannot be told, that is tried again; what is left is logged."""
        await self._cloud.end(handle.address)

    async def detached(self, handle: ReplHandle) -> None:
        """See `SupervisedExecutor.detached`. The sandbox is to be paused sooner than with an owner."""
        await self._cloud.leave(handle.address)

    async def _is_first(self, sandbox_id: str, name: str) -> bool:
        """Whether no older sandbox of that name is there, among those that may be listed."""
        for info in await self._cloud.list(name):
            if info.sandbox_id == sandbox_id:
                return True
            if await self._cloud.has(info.sandbox_id, name):
                return False
        return True

    def _listed(self, info: SandboxInfo) -> ListedSandbox:
        handle = self.handle(info.metadata[REPL], info.sandbox_id, version=info.metadata.get(VERSION, ""))
        listed = ListedSandbox(handle, created=info.started_at.timestamp(), owner=info.metadata.get(OWNER, ""))
        if info.state.value != "paused":
            return listed
        # Its time was over when it was paused.
        return listed._replace(state="idle", idle_s=max(time.time() - info.end_at.timestamp(), 0.0))


class E2BRepl(SupervisedRepl):
    """A REPL in a sandbox of E2B, whose supervisor is asked from time to time whether it can be heard.

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
        super().__init__(handle, self._connect, tools=tools, uploads=ContextUploads(CONTEXTS_FOLDER, self._upload))
        self._cloud = cloud
        self._sandbox = sandbox
        self._patience = patience
        self._output: RelayOutput | None = None
        self._input: RelayInput | None = None
        self._listening: asyncio.Task[None] | None = None

    async def attach(self) -> None:
        """See `SupervisedRepl.attach`. A sandbox that is paused is woken. Raises `CloudLost` if E2B does not answer."""
        await super().attach()
        self._listening = asyncio.create_task(self._listen())

    async def detach(self) -> None:
        """See `SupervisedRepl.detach`."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await super().detach()

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

    async def _upload(self, name: str, folder: Path) -> None:
        if self._sandbox is None:
            raise ExecutorError("not attached to the REPL")
        await upload(self._sandbox, name, folder)

    async def _connect(self) -> tuple[RelayOutput, Writer]:
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
                await self._link.request({"op": "look"}, timeout_s=self._patience.answer_s)
            except RLMError:
                if self._heard() == heard and output is self._output and output is not None:
                    output.end(f"the sandbox was not heard for {self._patience.answer_s:g} s")

    def _heard(self) -> int:
        return 0 if self._output is None else self._output.received
