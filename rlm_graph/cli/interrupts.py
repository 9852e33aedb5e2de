"""Ctrl-C and SIGTERM: the first asks the run to stop after its step, the second stops it now."""

from __future__ import annotations

import asyncio
import os
import signal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rlm_graph.cli.exits import Exit
from rlm_graph.cli.printing import say

if TYPE_CHECKING:
    from langgraph.runtime import RunControl

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, signals end the run of `control` instead of the process.

    LangGraph drains between two steps: what the step under way has paid for is saved. A second signal cancels the step
    as well; its calls that were answered are recorded, those under way are lost. A third one ends the process.
    """

    def __init__(self) -> None:
        from langgraph.runtime import RunControl

        self.control: RunControl = RunControl()
        self._count = 0
        self._task: asyncio.Task[Any] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the step under way was cancelled by a signal. Lets the caller go on awaiting if so."""
        if self._count < 2 or self._task is None:
            return False
        self._task.uncancel()
        return True

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _on_signal(self) -> None:
        self._count += 1
        if self._count == 1:
            self.control.request_drain("interrupted")
            say("stopping after the step under way; once more stops now")
        elif self._count == 2 and self._task is not None:
            self._task.cancel()
        elif self._count > 2:
            os._exit(Exit.INTERRUPTED)
