"""What a run stays attached to from one turn to the next: its REPL, where that is on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from langchain_core.runnables import RunnableConfig

from rlm_graph.executors.base import Executor, Repl, Stays
from rlm_graph.state import ReplHandle

MAX_KEPT = 100
"""REPLs that this process stays attached to between turns, each by one open file. Further runs attach at each turn."""
ATTACHMENT = "__rlm_graph_attachment"
"""Key in a config for the `Attachment` of its run."""

_kept: set[Attachment] = set()


class _Attached(NamedTuple):
    executor: Executor
    tools: tuple[str, ...]
    repl: Repl
    leaving: AsyncExitStack
    """Detaches."""
    loop: asyncio.AbstractEventLoop


class Attachment:
    """One run's, from its first act in this process until `aclose`, which its stream calls before it frees the run.

    A REPL is used again only as it was left: where its worker has ended since, or another process has come, or an act
    failed or was cancelled, the next act attaches anew and finds out what there is.
    """

    def __init__(self) -> None:
        self._attached: _Attached | None = None

    @asynccontextmanager
    async def attached(
        self, executor: Executor, handle: ReplHandle | None, *, name: str, tools: Sequence[str]
    ) -> AsyncIterator[Repl]:
        """Give a REPL as `Executor.attached` does, and stay attached to it when the block has ended well."""
        using = await self._as_left(executor, handle, tuple(tools))
        if using is None:
            leaving = AsyncExitStack()
            repl = await leaving.enter_async_context(executor.attached(handle, name=name, tools=tools))
            using = _Attached(executor, tuple(tools), repl, leaving, asyncio.get_running_loop())
        try:
            yield using.repl
        except BaseException:
            await using.leaving.aclose()
            raise
        if isinstance(using.repl, Stays) and using.repl.stays and self._attached is None and len(_kept) < MAX_KEPT:
            self._attached = using
            _kept.add(self)
        else:
            await using.leaving.aclose()

    @property
    def is_kept(self) -> bool:
        """Whether there is something to detach from."""
        return self._attached is not None

    async def aclose(self) -> None:
        """Detach. Idempotent."""
        kept = self._taken()
        if kept is not None and kept.loop is asyncio.get_running_loop():
            await kept.leaving.aclose()
        elif kept is not None and not kept.loop.is_closed():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(kept.leaving.aclose(), kept.loop))

    async def _as_left(self, executor: Executor, handle: ReplHandle | None, tools: tuple[str, ...]) -> _Attached | None:
        """Return the REPL that was kept, if it is the one of the handle and as it was left; else detach from it."""
        kept = self._attached
        if (
            kept is not None
            and kept.executor is executor
            and kept.tools == tools
            and kept.repl.handle == handle
            and kept.loop is asyncio.get_running_loop()
            and isinstance(kept.repl, Stays)
            and await kept.repl.is_as_left()
        ):
            return self._taken()
        await self.aclose()
        return None

    def _taken(self) -> _Attached | None:
        kept, self._attached = self._attached, None
        _kept.discard(self)
        return kept


def attachment_of(config: RunnableConfig) -> Attachment | None:
    """Return the attachment of the run whose step got this config; None where the run's stream is not ours."""
    found: Attachment | None = config.get("configurable", {}).get(ATTACHMENT)
    return found
