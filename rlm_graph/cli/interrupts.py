"""Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop after its step, a second one stops it now."""

from __future__ import annotations

import asyncio
import os
import signal
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rlm_graph.cli.exits import Exit
from rlm_graph.cli.printing import say

if TYPE_CHECKING:
    from rlm_graph.runs.live import LiveRun


class Interrupts:
    """While entered, signals end the run instead of the process.

    LangGraph drains between two steps: what the step under way has paid for is saved. A second signal cancels the step
    as well; its calls that were answered are recorded, those under way are lost. A third one ends the process.

    SIGHUP says that the terminal has gone, often more than once: it only asks the run to stop. A process that was
    started to ignore it, as by `nohup`, goes on.
    """

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._count = 0
        self._heard = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._heard.append(signal.SIGHUP)

    def __enter__(self) -> Self:
        for number in self._heard:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._heard:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and self._count:
            return
        self._count += 1
        if self._count == 1:
            self._run.drain()
            say("stopping after the step under way; once more stops now")
        elif self._count == 2:
            self._run.stop()
        else:
            os._exit(Exit.INTERRUPTED)
