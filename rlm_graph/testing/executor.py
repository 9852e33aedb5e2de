"""An executor that runs no code: what each cell does is scripted. For tests of whatever drives a REPL."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never

from pydantic import JsonValue

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import CallResult, HostCall, PastCell, Serve
from rlm_graph.state import Cell, CellError, ContextRef, Execution, FinalAnswer, ReplHandle, Variable
from rlm_graph.testing.cells import Bind, Break, Call, CellScript, Compute, Die, Event, Expression, Fail, Final, Output


@dataclass
class _Progress:
    """How far a cell has come: it goes on from there when another host attaches."""

    position: int = 0
    results: list[JsonValue] = field(default_factory=list)
    calls: list[HostCall] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""
    value: str | None = None


@dataclass
class _World:
    """What a REPL holds between its cells."""

    handle: ReplHandle
    tools: tuple[str, ...]
    done: dict[int, Execution] = field(default_factory=dict)
    under_way: dict[int, _Progress] = field(default_factory=dict)
    branches: dict[int, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    contexts: dict[int, ContextRef] = field(default_factory=dict)
    stopped: str | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class ScriptedExecutor:
    """Keeps the `Executor` protocol with REPLs in this process, whose cells do what a script says.

        ScriptedExecutor({"print(llm_query('x'))": [Call("llm_query", {"prompt": "x"}), Output(lambda got: got[0])]})

    A cell runs once by its number; a host that is cancelled in the middle finds it where it was. Code that the script
    does not know raises `LookupError`, which is no error of the sandbox: the test is wrong.
    """

    def __init__(self, script: CellScript, *, kind: str = "scripted", cell_timeout_s: float = 60.0) -> None:
        self.script = script
        self.cell_timeout_s = cell_timeout_s
        self.declared: dict[str, str] = {}
        self.started: list[tuple[str, int, str]] = []
        """Every cell that began to run: the REPL's id, the cell's number and its code."""
        self.closed: list[str] = []
        """The ids of the REPLs that were closed."""
        self._kind = kind
        self._worlds: dict[str, _World] = {}

    @property
    def kind(self) -> str:
        """Its name in settings and handles."""
        return self._kind

    @property
    def living(self) -> list[ReplHandle]:
        """The REPLs there are."""
        return [world.handle for world in self._worlds.values()]

    def lose(self, handle: ReplHandle) -> None:
        """Let the REPL vanish, as after a restart of the machine."""
        self._worlds.pop(handle.id, None)

    def contexts(self, handle: ReplHandle) -> dict[int, ContextRef]:
        """Return the contexts that the REPL was given, by number."""
        return dict(self._worlds[handle.id].contexts)

    def attached(
        self, handle: ReplHandle | None, *, name: str | None = None, tools: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[ScriptedRepl]:
        """Attach to the REPL of that handle or name, or to a fresh one."""
        return self._attached(handle, name, tuple(tools))

    @asynccontextmanager
    async def _attached(
        self, handle: ReplHandle | None, name: str | None, tools: tuple[str, ...]
    ) -> AsyncIterator[ScriptedRepl]:
        world = self._worlds.get(handle.id) if handle is not None else None
        if world is None:
            id = name or secrets.token_hex(8)
            fresh = ReplHandle(kind=self.kind, id=id, address=f"scripted:{id}", worker_version="scripted")
            world = self._worlds.setdefault(id, _World(fresh, tools))
        yield ScriptedRepl(self, world)

    async def close(self, handle: ReplHandle) -> None:
        """End the REPL. Idempotent."""
        if self._worlds.pop(handle.id, None) is not None:
            self.closed.append(handle.id)

    def events(self, code: str) -> Sequence[Event]:
        """Return what the script says that `code` does. Raises `LookupError`."""
        if callable(self.script):
            return self.script(code)
        if code not in self.script:
            raise LookupError(f"the script knows no cell {code!r}; it has: {', '.join(map(repr, self.script))}")
        return self.script[code]


class ScriptedRepl:
    """Keeps the `Repl` protocol for `ScriptedExecutor`."""

    def __init__(self, executor: ScriptedExecutor, world: _World) -> None:
        self._executor = executor
        self._world = world

    @property
    def handle(self) -> ReplHandle:
        """Its name, to be stored."""
        return self._world.handle

    @property
    def cells_done(self) -> int:
        """The number of the last cell that has ended."""
        return max(self._world.done, default=0)

    @property
    def past(self) -> Sequence[PastCell]:
        """The cells that have ended, and the one that runs now."""
        return [PastCell(number, self._world.branches[number]) for number in self._world.branches]

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
        """Run the cell's events, from where it stands, and serve its calls."""
        world = self._world
        async with world.turn:
            if number in world.done:
                return world.done[number]
            world.branches[number] = branch
            if number not in world.under_way:
                self._executor.started.append((world.handle.id, number, cell.code))
                world.under_way[number] = _Progress()
            progress = world.under_way[number]
            ending = await self._play(self._executor.events(cell.code), progress, serve, timeout_s)
            execution = _execution(cell, number, progress, ending, started_at)
            if execution.status == "killed":
                self._executor.lose(world.handle)
            del world.under_way[number]
            world.done[number] = execution
            return execution

    async def add_context(self, number: int, context: ContextRef, *, folder: Path) -> None:
        """Bind the context, as `context` and in `contexts`."""
        self._world.contexts[number] = context
        self._world.variables["context"] = Variable(name="context", type=context.kind, size=context.chars)

    async def variables(self) -> Sequence[Variable]:
        """List the names that cells have bound."""
        return [variable for name, variable in self._world.variables.items() if name != "context"]

    async def snapshot(self, max_bytes: int) -> bytes | None:
        """Return none: a script has nothing that could be copied."""
        return None

    async def restore(self, snapshot: bytes, past: Sequence[PastCell]) -> bool:
        """Refuse it."""
        return False

    async def interrupt(self) -> None:
        """End a computing cell with `KeyboardInterrupt`."""
        self._stop("interrupt")

    async def kill(self) -> None:
        """End a computing cell with its REPL."""
        self._stop("kill")

    def _stop(self, how: str) -> None:
        if self._world.under_way:
            self._world.stopped = how
            self._world.stop.set()

    async def _play(
        self, events: Sequence[Event], progress: _Progress, serve: Serve, timeout_s: float
    ) -> Final | Fail | Die | None:
        while progress.position < len(events):
            ending = await self._step(events[progress.position], progress, serve, timeout_s)
            progress.position += 1
            if ending is not None:
                return ending
        return None

    async def _step(
        self, event: Event, progress: _Progress, serve: Serve, timeout_s: float
    ) -> Final | Fail | Die | None:
        match event:
            case Call():
                return await _make([event], progress, serve)
            case Output():
                text = event.text if isinstance(event.text, str) else event.text(progress.results)
                setattr(progress, event.stream, getattr(progress, event.stream) + text)
            case Bind():
                self._world.variables[event.name] = Variable(
                    name=event.name, type=event.type, size=event.size, preview=event.preview
                )
            case Expression():
                progress.value = event.text
            case Final():
                value = event.value(progress.results) if callable(event.value) else event.value
                return Final(value, event.via, event.exact)
            case Fail() | Die():
                return event
            case Compute():
                return await self._compute(event, timeout_s)
            case Break():
                progress.position += 1
                raise ExecutorError(event.message)
            case Sequence():
                return await _make(event, progress, serve)
            case _:
                assert_never(event)
        return None

    async def _compute(self, event: Compute, timeout_s: float) -> Fail | Die | None:
        world = self._world
        waits = [asyncio.ensure_future(each.wait()) for each in (event.until, world.stop)]
        try:
            done, _ = await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        stopped, world.stopped = world.stopped, None
        world.stop.clear()
        if stopped == "kill":
            return Die()
        if stopped == "interrupt":
            return Fail("KeyboardInterrupt")
        return None if done else Fail("TimeoutError", f"the cell computed for more than {timeout_s:g} s")


async def _make(calls: Sequence[Call], progress: _Progress, serve: Serve) -> Fail | None:
    """Make the calls at once. Answers count only when all are there: a host that is cancelled is asked again."""
    made: list[HostCall] = []
    for call in calls:
        equal = [old for old in [*progress.calls, *made] if _same(old, call)]
        number = len(progress.calls) + len(made) + 1
        made.append(HostCall(id=number, function=call.function, arguments=dict(call.arguments), nth=len(equal)))
    results: list[CallResult] = await asyncio.gather(*map(serve, made))
    progress.calls += made
    progress.results += [result.value if result.error is None else result.error for result in results]
    for call, result in zip(calls, results, strict=True):
        if result.error is not None and not call.catch:
            return Fail(result.error_type, result.error)
    return None


def _same(old: HostCall, call: Call) -> bool:
    return old.function == call.function and old.arguments == dict(call.arguments)


def _execution(
    cell: Cell, number: int, progress: _Progress, ending: Final | Fail | Die | None, started_at: float | None
) -> Execution:
    status: Literal["ok", "error", "final", "killed"] = "ok"
    error, final = None, None
    match ending:
        case Final():
            status = "final"
            assert not callable(ending.value)  # it was called when the cell came to it
            final = FinalAnswer(value=ending.value, exact=ending.exact, via=ending.via)
        case Fail():
            status = "error"
            error = CellError(type=ending.type, message=ending.message, line=ending.line)
        case Die():
            status = "killed"
    told = [progress.stdout, progress.stderr, *([call.function, call.arguments] for call in progress.calls)]
    return Execution(
        number=number,
        code=cell.code,
        language=cell.language,
        status=status,
        stdout=progress.stdout,
        stdout_chars=len(progress.stdout),
        stderr=progress.stderr,
        stderr_chars=len(progress.stderr),
        value=progress.value,
        error=error,
        final=final,
        calls=len(progress.calls),
        digest=hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest(),
        # Not the clock: equal runs are equal.
        started_at=float(number) if started_at is None else started_at,
    )
