"""One attack against one executor, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import CallResult, HostCall, Repl
from rlm_graph.state import Cell, Execution, ReplHandle
from tests.escapes.attack import ALLOWED_FUNCTIONS, Attack, Outcome, breached, declared, denied, prelude
from tests.escapes.orphans import descendants, reap
from tests.escapes.sites import Site
from tests.escapes.targets import Targets

GRACE_S = 15.0
"""What an executor may take beyond a cell's limit to end it and start afresh."""


@dataclass(frozen=True)
class Verdict:
    """The outcome, with the evidence for it."""

    attack: Attack
    outcome: Outcome
    evidence: tuple[str, ...] = ()
    executions: tuple[Execution, ...] = ()

    @property
    def told(self) -> str:
        """The last words of each cell, for a reader who asks why."""
        return "\n".join(
            f"cell {e.number} {e.status}: {e.stdout[-1000:]}{e.stderr[-500:]} {e.error and e.error.message[:500]}"
            for e in self.executions
        )


class Range:
    """A range to shoot on: one site, the targets, and a second REPL that must not notice."""

    def __init__(self, site: Site, targets: Targets) -> None:
        self._site = site
        self._executor = site.executor
        self._targets = targets
        self._bystander: ReplHandle | None = None
        self._asked = 0
        self._note = f"{targets.token};"

    async def run(self, attack: Attack) -> Verdict:
        """Run one attack in a fresh REPL, look what it reached, and end it."""
        if self._bystander is None and not await self._bystander_is_well():
            raise RuntimeError("the executor does not work at all")
        before = descendants()
        asked: list[tuple[str, str]] = []
        executions: list[Execution] = []
        evidence: list[str] = []
        handle: ReplHandle | None = None
        try:
            async with asyncio.timeout(60 + attack.timeout_s * 2), self._executor.attached(None) as repl:
                handle = repl.handle
                await repl.add_context(1, self._targets.context, folder=self._targets.context_folder)
                await self._shoot(repl, attack, asked, executions)
        except Exception as error:  # whatever it is, code in a sandbox has brought it about in the host
            evidence.append(f"the host was told {type(error).__name__}: {str(error)[:200]}")
        evidence += self._reached(executions, asked)
        if handle is not None:
            evidence += self._site.changes(handle)
            evidence += await self._left_behind(handle, before)
        evidence += [] if await self._bystander_is_well() else ["another REPL was disturbed"]
        self._targets.reset(breached=bool(evidence))
        return Verdict(attack, _outcome(attack, executions, evidence), tuple(evidence), tuple(executions))

    async def close(self) -> None:
        """End the bystander."""
        bystander, self._bystander, self._asked = self._bystander, None, 0
        if bystander is not None:
            await self._executor.close(bystander)

    async def _shoot(
        self, repl: Repl, attack: Attack, asked: list[tuple[str, str]], executions: list[Execution]
    ) -> None:
        async def serve(call: HostCall) -> CallResult:
            asked.append((call.function, json.dumps(call.arguments)[:10_000]))
            if call.function == "llm_query_batched":
                prompts = call.arguments.get("prompts")
                return CallResult(value=[{"text": "an answer"} for _ in prompts or []])  # type: ignore[union-attr]  # checked by ours
            return CallResult(value=str(call.arguments.get("prompt"))[:100])

        assert self._bystander is not None
        ours, others = self._site.places(repl.handle), self._site.others(self._bystander)
        names = prelude({**self._targets.places(), **ours, **others})
        prepared = await repl.run(Cell(code=names), number=1, serve=serve, timeout_s=30)
        assert prepared.status == "ok", prepared
        for number, code in enumerate((attack.code, *attack.cells), 2):
            limit = attack.timeout_s + GRACE_S
            async with asyncio.timeout(limit):
                executions.append(
                    await repl.run(Cell(code=code), number=number, serve=serve, timeout_s=attack.timeout_s)
                )
        # Whatever it left in the REPL, the host can still ask for what is there.
        async with asyncio.timeout(GRACE_S):
            await repl.variables()

    def _reached(self, executions: list[Execution], asked: list[tuple[str, str]]) -> list[str]:
        texts = [json.dumps(execution.model_dump(exclude={"code"}), default=str) for execution in executions]
        found = [line for e in executions for line in breached(e.stdout) if not self._site.lets]
        found += ["the token came out"] * any(self._targets.token in text for text in (*texts, *map(str, asked)))
        found += [f"the host was asked for {name[:80]}" for name, _ in asked if name not in ALLOWED_FUNCTIONS]
        return found + self._targets.changes()

    async def _left_behind(self, handle: ReplHandle, before: set[int]) -> list[str]:
        """End the REPL, and name what is still there then."""
        try:
            async with asyncio.timeout(GRACE_S):
                await self._executor.close(handle)
        except Exception as error:  # whatever it is, code in a sandbox has brought it about in the host
            problem = f"it could not be closed: {type(error).__name__}: {str(error)[:200]}"
        else:
            problem = ""
        left = self._site.left(handle)
        left = [problem] if problem else left
        more = descendants() - before
        for _ in range(500):
            if not more:
                return left
            await asyncio.sleep(0.01)
            reap(before)
            more = descendants() - before
        for pid in more:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return [*left, f"{len(more)} processes were left"]

    async def _bystander_is_well(self) -> bool:
        """Whether the second REPL still holds what it did, and does more. If it is lost, a new one follows it."""
        self._asked += 1
        code = f"n = globals().get('n', 0) + 1\nopen('note', 'a').write({self._note!r})\nn, open('note').read()"
        try:
            async with asyncio.timeout(GRACE_S), self._executor.attached(self._bystander) as repl:
                self._bystander = repl.handle
                told = await repl.run(Cell(code=code), number=self._asked, serve=_unserved, timeout_s=10)
        except (ExecutorError, TimeoutError, OSError):
            told = None
        if told is not None and told.value == repr((self._asked, self._note * self._asked)):
            return True
        await self.close()
        return False


async def _unserved(call: HostCall) -> CallResult:
    return CallResult(error=f"not served: {call.function}")


def _outcome(attack: Attack, executions: list[Execution], evidence: list[str]) -> Outcome:
    if evidence:
        return Outcome.BREACH
    if Outcome.DECLARED in attack.stopped and any(declared(e.stdout) for e in executions):
        return Outcome.DECLARED
    if any(execution.status == "killed" for execution in executions):
        return Outcome.KILLED
    refused = [e for e in executions if e.error and e.error.type in ("PermissionError", "MemoryError", "OSError")]
    if refused or any(denied(execution.stdout) for execution in executions):
        return Outcome.DENIED
    return Outcome.HARMLESS
