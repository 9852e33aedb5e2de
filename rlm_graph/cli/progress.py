"""What is said while a run is under way: one live line on a terminal, else a line a turn."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rlm_graph.budget import Usage
from rlm_graph.cli.output import Output
from rlm_graph.cli.printing import console, cost, counted, say
from rlm_graph.cli.screen import guarded
from rlm_graph.runs.notices import Begun, Body, Step
from rlm_graph.state import Execution, Turn

if TYPE_CHECKING:
    from rich.console import RenderableType

_NEXT = {"observe": "thinking", "think": "running code", "act": "thinking", "finalize": "done"}
"""What the run does after each node."""
_SHOWN_CHARS = 2000


class Progress:
    """Follows a run by its notices."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._settled = Usage()
        self._under_way = Usage()
        """Of sub-calls whose turn has not ended."""
        self._doing = "starting"
        self._started = time.monotonic()

    @property
    def usage(self) -> Usage:
        """What has been spent, as far as the notices told."""
        return self._settled + self._under_way

    def notice(self, body: Body) -> None:
        """Take in what the run tells."""
        match body:
            case Begun():
                self._settled = body.usage
            case Step(inner=True):
                self._under_way += body.spent or Usage()
            case Step():
                self._step(body)

    def line(self) -> str:
        """Return where the run stands, in one line."""
        usage = self.usage
        parts = (
            f"turn {usage.turns + (self._doing == 'thinking')}: {self._doing}",
            counted(usage.subcalls, "sub-call"),
            counted(usage.tokens, "token"),
            cost(usage),
            f"{time.monotonic() - self._started:.0f} s",
        )
        return " · ".join(parts)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the live line while the block runs, where there is a terminal for it."""
        if self._output.quiet or self._output.stream or not sys.stderr.isatty():
            yield
            return
        from rich.live import Live
        from rich.spinner import Spinner

        spinner = Spinner("dots", style="cyan")

        def rendered() -> RenderableType:
            spinner.update(text=self.line())
            return spinner

        # Lines that are said meanwhile come out above it.
        with (
            Live(get_renderable=rendered, console=console(stderr=True), transient=True, redirect_stdout=False),
            guarded(),
        ):
            yield

    def _step(self, step: Step) -> None:
        self._settled = Usage() if step.anew else self._settled + (step.spent or Usage())
        self._doing = _NEXT.get(step.node, self._doing)
        for turn in step.turns:
            self._under_way = Usage()
            self._turn(turn)

    def _turn(self, turn: Turn) -> None:
        if self._output.verbose and not self._output.stream:
            for execution in turn.executions:
                say(shown(execution))
        if self._output.stream:
            return
        self._output.say(f"turn {turn.number}: {outcome(turn)} · {counted(self.usage.tokens, 'token')} so far")


def outcome(turn: Turn) -> str:
    """Return in words what a turn did."""
    own = sum(answer.cell is None for answer in turn.answers)
    calls = sum(execution.calls for execution in turn.executions) + own
    parts = [counted(len(turn.executions), "cell")] if turn.executions or not own else []
    if calls:
        parts.append(counted(calls, "call"))
    parts += [status(execution) for execution in turn.executions if execution.status != "ok"]
    return ", ".join(parts)


def shown(execution: Execution) -> str:
    """Return a cell as text: its code, then what it printed and how it ended, long output cut."""
    printed = "".join(
        f"{cut(text, chars)}\n"
        for text, chars in (
            (execution.stdout, execution.stdout_chars),
            (execution.stderr, execution.stderr_chars),
        )
        if text
    )
    ending = "" if execution.status == "ok" else f"[{status(execution)}]\n"
    return f"[{execution.number}] {_indented(execution.code)}\n{printed}{ending}".rstrip("\n")


def cut(text: str, chars: int, limit: int = _SHOWN_CHARS) -> str:
    """Return the head and the tail of a longer `text`, which had `chars` characters before it was stored."""
    if len(text) <= limit and chars <= len(text):
        return text.rstrip("\n")
    half = limit // 2
    left_out = max(chars, len(text)) - 2 * half
    return f"{text[:half]}\n… {left_out:,} characters left out …\n{text[-half:]}".rstrip("\n")


def status(execution: Execution) -> str:
    """Return in a word or two how a cell ended."""
    if execution.error is not None:
        where = f" in line {execution.error.line}" if execution.error.line else ""
        return f"{execution.error.type}{where}"
    return {"final": "final answer", "killed": "REPL killed"}.get(execution.status, execution.status)


def _indented(code: str) -> str:
    return code.strip("\n").replace("\n", "\n    ")
