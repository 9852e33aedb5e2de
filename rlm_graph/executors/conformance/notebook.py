"""What the behaviours are written with: a REPL whose cells number themselves, and a host that answers by a script."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import JsonValue

from rlm_graph.executors.base import CallResult, Executor, HostCall, Repl, Serve
from rlm_graph.state import Cell, ContextRef, Execution

TIMEOUT_S = 30.0
DECLARED_TIMEOUT_S = 2.0
"""Where a behaviour is declared not to be there, which may show in nothing but endless waiting."""

Reply = JsonValue | CallResult


class Host:
    """Answers calls with what `reply` returns for them, and keeps them in the order they came."""

    def __init__(self, reply: Callable[[HostCall], Reply]) -> None:
        self._reply = reply
        self.calls: list[HostCall] = []

    async def __call__(self, call: HostCall) -> CallResult:
        self.calls.append(call)
        reply = self._reply(call)
        return reply if isinstance(reply, CallResult) else CallResult(value=reply)


async def nobody(call: HostCall) -> CallResult:
    """Answer for a host that expects no call."""
    return CallResult(error=f"unexpected call of {call.function}", error_type="AssertionError")


class Notebook:
    """Runs cell after cell in a REPL."""

    def __init__(self, repl: Repl) -> None:
        self.repl = repl
        self.number = repl.cells_done

    async def run(
        self,
        code: str,
        *,
        serve: Serve = nobody,
        timeout_s: float | None = None,
        number: int | None = None,
        started_at: float | None = None,
        language: str = "python",
    ) -> Execution:
        """Run a cell, by default under the next number."""
        self.number = self.number + 1 if number is None else number
        cell = Cell.model_validate({"code": code, "language": language})
        return await self.repl.run(
            cell, number=self.number, serve=serve, timeout_s=timeout_s or TIMEOUT_S, started_at=started_at
        )

    async def printed(self, code: str, *, serve: Serve = nobody) -> str:
        """Run a cell that must end well, and return what it printed."""
        execution = await self.run(code, serve=serve)
        assert execution.error is None, execution.error
        return execution.stdout


class Notebooks:
    """The fixtures of all behaviours."""

    @pytest.fixture
    def executor(self) -> Executor:
        """The executor that is looked at. To be given by the subclass."""
        raise NotImplementedError("a subclass of ExecutorConformance gives the fixture `executor`")

    @pytest.fixture(autouse=True)
    def _declared(self, request: pytest.FixtureRequest, executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
        declared = executor.declared
        reason = declared.get(request.node.name) or declared.get(request.function.__name__)
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
            monkeypatch.setattr(f"{__name__}.TIMEOUT_S", DECLARED_TIMEOUT_S)

    @pytest_asyncio.fixture
    async def notebook(self, executor: Executor) -> AsyncIterator[Notebook]:
        """A fresh REPL, closed in the end."""
        async with executor.attached(None) as repl:
            yield Notebook(repl)
        await executor.close(repl.handle)


def stored(folder: Path, context: str | list[str] | dict[str, str]) -> ContextRef:
    """Write a context to `folder` in the form that the context store has, and return its reference."""
    if isinstance(context, str):
        named: list[tuple[str | None, str]] = [(None, context)]
    elif isinstance(context, dict):
        named = list(context.items())
    else:
        named = [(None, text) for text in context]
    parts: list[dict[str, JsonValue]] = []
    data = bytearray()
    for name, text in named:
        encoded = text.encode("utf-8", "surrogatepass")
        parts.append({
            "name": name, "start": len(data), "bytes": len(encoded), "chars": len(text), "ascii": text.isascii(),
        })  # fmt: skip
        data += encoded
    kind = type(context).__name__
    folder.mkdir(parents=True)
    (folder / "text").write_bytes(data)
    index = json.dumps({"kind": kind, "parts": parts})
    (folder / "index.json").write_text(index)
    return ContextRef.model_validate({
        "sha256": hashlib.sha256(data + index.encode()).hexdigest(), "kind": kind,
        "chars": sum(len(text) for _, text in named),
        "bytes": len(data), "parts": len(parts), "longest": max((len(text) for _, text in named), default=0),
    })  # fmt: skip


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until `condition` holds."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110  # what is waited for may be in another process
            await asyncio.sleep(0.005)
