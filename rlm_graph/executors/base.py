"""What an executor is: a place that runs code in REPLs whose variables outlive each cell."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from pydantic import Field, InstanceOf, JsonValue, SkipValidation

from rlm_graph.executors.sandbox.readings import Readings
from rlm_graph.handed import TextAt, WholeContext
from rlm_graph.state import Cell, ContextRef, Execution, ReplHandle, Variable
from rlm_graph.value import Value


class HandedText(NamedTuple):
    """A text among a call's arguments, or a context, that is handed over by the place where it lies."""

    path: tuple[str | int, ...]
    """Where it belongs in the arguments. An empty text stands there."""
    text: TextAt | WholeContext


class HostCall(Value):
    """A function of the host that code has called. All of it came from the sandbox: untrusted."""

    id: int
    """Unique in its cell."""
    function: str
    """`llm_query`, `llm_query_batched`, `rlm_query`, `rlm_query_batched`, or a tool's name."""
    arguments: SkipValidation[dict[str, JsonValue]]
    """By parameter name, as the stub in the sandbox bound them. They were checked when they came: to check each value
    of a large one again takes a tenth of a second of the event loop, and a copy."""
    nth: int
    """How many equal calls (same function and arguments) the cell made before this one."""
    ahead: bool = False
    """Whether it was begun before the code came to it: see `BeginsAhead`."""
    readings: dict[str, list[int]] = Field(default_factory=dict)
    """What the cell has read of clocks since the call before: see `rlm_graph.executors.sandbox.readings`."""
    handed: tuple[InstanceOf[HandedText], ...] = ()
    """What of `arguments` is handed over by its place."""
    plain: SkipValidation[dict[str, JsonValue] | None] = None
    """The arguments as they came, where they named texts."""
    named: tuple[JsonValue, ...] = ()
    """How they named them: with `plain`, what tells the call from others."""


class CallResult(Value):
    """The host's reply: a value, or the text of an error to raise in the code."""

    value: SkipValidation[JsonValue] = None
    """What is no JSON is noticed when it is sent: the code then gets an error in its place."""
    error: str | None = None
    error_type: str = "RuntimeError"
    """Name of the exception that the code sees: a builtin, `BudgetExceeded`, `SubcallError` or `IncompleteReply`."""
    reason: str | None = None
    """Of an `IncompleteReply`: `cut`, `filtered`, `refused` or `empty`."""
    partial: str | None = None
    """Of an `IncompleteReply`: its text so far."""

    def as_frame(self) -> dict[str, JsonValue]:
        """Return what a frame says of it. The fields of an `IncompleteReply` stand there only for one."""
        fields = dict(self)  # not dumped: a large value would be copied
        return {name: value for name, value in fields.items() if value is not None or name in ("value", "error")}


class PastCell(NamedTuple):
    """A cell in the past of a namespace."""

    number: int
    branch: str


Serve = Callable[[HostCall], Awaitable[CallResult]]
"""Answers one host call. Several may be under way at once."""


class Progress(NamedTuple):
    """How far the code of a running cell is."""

    seen: bool
    """Whether all calls that the code has made so far have come to `Serve`."""
    still: bool
    """Whether the code does nothing but wait."""
    turns: int
    """How often its threads have slept and woken: if it grows, the code has gone on meanwhile."""
    answered: frozenset[str] = frozenset()
    """The keys of the calls that have been answered, if they were asked for."""


@runtime_checkable
class ReportsProgress(Protocol):
    """What a `Repl` may be besides: one that tells how far its code is. Without it, a replay waits for no call."""

    async def progress(self, *, answered: bool = False) -> Progress:
        """Return how far the code of the running cell is, with the calls that are `answered` if that is wanted."""


@runtime_checkable
class RepeatsReadings(Protocol):
    """What a `Repl` may be besides: one that can show a cell the times that its clocks showed when it ran before."""

    def give_readings(self, readings: Readings) -> None:
        """Have the clocks of the cell that is run next show these first."""


@runtime_checkable
class BeginsAhead(Protocol):
    """What a `Repl` may be besides: one that begins calls of a loop before the loop comes to them.

    The code is given the same answers at the same places. Such calls are marked, and their answers may be given in any
    order: the code's only thread takes each when it comes to it. What the code never comes to is asked in vain.
    """

    def begin_ahead(self, calls: int) -> None:
        """Have the cell that is run next begin so many calls ahead of their use, at most."""


@runtime_checkable
class Stays(Protocol):
    """What a `Repl` may be besides: one that its owner can stay attached to while it does something else."""

    @property
    def stays(self) -> bool:
        """Whether that costs nobody anything: the sandbox is on this machine."""

    async def is_as_left(self) -> bool:
        """Whether the REPL holds what it held when the owner used it last, and nobody else has used it since."""


class Repl(Protocol):
    """A REPL that this process is attached to."""

    @property
    def handle(self) -> ReplHandle:
        """Its name, to be stored."""

    @property
    def cells_done(self) -> int:
        """The number of the last cell that this namespace holds the effects of; 0 if it is fresh."""

    @property
    def past(self) -> Sequence[PastCell]:
        """The cells that this namespace holds the effects of, in order; last of all the one that runs now, if any."""

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
        """Run a cell, or join it if it runs already, and serve its calls until it ends.

        `branch` names what the cell belongs to: a run that went back to an earlier step has another cell of the same
        number. Idempotent by both: a cell that has ended is not run again, its execution is returned. `timeout_s` is
        in seconds and does not count waiting for calls. `started_at` is set on a replay. Raises `ExecutorError` if
        the sandbox fails; an exception in the code is part of the execution.
        """

    async def add_context(self, number: int, context: ContextRef, *, folder: Path) -> None:
        """Bind the run's `number`-th context (from 1) to `context`, and add it to `contexts`. Idempotent.

        `folder` is where the context store keeps it on this machine.
        """

    async def variables(self) -> Sequence[Variable]:
        """List the names that cells have bound."""

    async def snapshot(self, max_bytes: int) -> bytes | None:
        """Return a snapshot of this REPL between two cells, from which `restore` brings back a REPL of equal version.

        None if the snapshot would take more than `max_bytes`, or if it is not certain that the restored REPL would do
        all that this REPL does. What the bytes mean is known inside the sandbox alone.
        """

    async def restore(self, snapshot: bytes, past: Sequence[PastCell]) -> bool:
        """Bring this REPL, which has its contexts but has run no cell, to where the snapshot was taken.

        `past` are the cells that the snapshot holds the effects of. False if the snapshot cannot be used; this REPL is
        then fresh, and without contexts.
        """

    async def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running cell."""

    async def kill(self) -> None:
        """End the running cell with its REPL, for code that ignores the interrupt; `run` then returns `killed`."""


class Executor(Protocol):
    """Runs code in REPLs whose variables outlive each cell.

    An exception in the code is part of the result. `ExecutorError` means that the sandbox itself failed.
    `executors/conformance/` holds the behaviours that every executor shows.
    """

    @property
    def kind(self) -> str:
        """Its name in settings and handles."""

    @property
    def cell_timeout_s(self) -> float:
        """Seconds that a cell may compute."""

    @property
    def declared(self) -> dict[str, str]:
        """Behaviours of the conformance list that this executor cannot show, each with the reason."""

    def attached(
        self, handle: ReplHandle | None, *, name: str | None = None, tools: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Repl]:
        """Attach to the REPL of that handle; if there is none or it is gone, to the REPL called `name`, or a fresh one.

        `name` (16 hex digits) becomes the `id` of a REPL that is started here, so that a process which was killed
        before it could store the handle finds the REPL again by the same name. Without a name, the id is random.
        Leaving the context detaches; the REPL lives on. `tools` are names of further host functions.
        Raises `SetupError` where this machine cannot run the executor, `ExecutorError` where the sandbox fails.
        """

    async def close(self, handle: ReplHandle) -> None:
        """End the REPL and remove all it left. Idempotent."""


def progress_of(repl: Repl) -> Callable[..., Awaitable[Progress]] | None:
    """Return what tells how far the code of the REPL's cell is; None if the REPL does not tell."""
    return repl.progress if isinstance(repl, ReportsProgress) else None


def repl_name(run: str, namespace: str) -> str:
    """Return the name of the REPL that an act of a run starts, from the run's id and the act's checkpoint namespace."""
    return hashlib.sha256(f"{run}|{namespace}".encode()).hexdigest()[:16]
