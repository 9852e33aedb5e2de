"""The tool calls of a model's own reply, made side by side, on the way that the calls of code take too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from langgraph.errors import GraphInterrupt

from rlm_graph.calls.subcalls import NO_CELL, CallScope
from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.memory import LIST, RECALL
from rlm_graph.prompts import cut_middle, recalled
from rlm_graph.state import Execution, PendingToolCall, ToolCallAnswer

NOT_RUN = "It was not run, because an earlier cell of your reply did not end well."


async def call_each(calls: Sequence[PendingToolCall], scope: CallScope, *, max_chars: int) -> dict[str, ToolCallAnswer]:
    """Make the calls that the host answers, all at once, and return the answers by the calls' ids.

    Each is recorded under its content, as a cell's calls are, so a resumed run makes none of them twice. Raises
    `GraphInterrupt` with all that wait for a human, once the others are answered.
    """
    made = [call for call in calls if call.function and call.problem is None]
    seen: list[tuple[str, str]] = []
    requests: list[HostCall] = []
    for number, call in enumerate(made, start=1):
        content = (call.function, json.dumps(call.arguments, sort_keys=True))
        requests.append(HostCall(id=number, function=call.function, arguments=call.arguments, nth=seen.count(content)))
        seen.append(content)
    room = asyncio.Semaphore(scope.max_concurrency)

    async def serve(request: HostCall) -> CallResult:
        async with room:
            return await scope.serve(NO_CELL, request)

    results = await each(*map(serve, requests), scope=scope)
    return {call.id: _answer(call, result, max_chars) for call, result in zip(made, results, strict=True)}


async def each(*work: Awaitable[Any], scope: CallScope) -> list[Any]:
    """Await all of `work` side by side, each piece to its end even if another fails: calls under way are paid for.

    Raises the first error of a piece. `GraphInterrupt`, with all calls that wait for a human, is raised only if no
    piece failed with an error: an interrupt tells the caller that nothing is wrong with the run, and would hide the
    error.
    """
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in sorted(failures, key=lambda failure: isinstance(failure, GraphInterrupt)):
        raise GraphInterrupt(scope.interrupts) if isinstance(failure, GraphInterrupt) else failure
    return outcomes


def in_order(
    calls: Sequence[PendingToolCall], made: Mapping[str, ToolCallAnswer], executions: Sequence[Execution]
) -> tuple[ToolCallAnswer, ...]:
    """Return the answers to all calls of a reply: what the host has answered, the cells that ran, and refusals."""
    answers = []
    for call in calls:
        if call.problem is not None:
            answers.append(ToolCallAnswer(id=call.id, text=call.problem, failed=True))
        elif call.cell is None:
            answers.append(made[call.id])
        elif call.cell < len(executions):
            execution = executions[call.cell]
            answers.append(
                ToolCallAnswer(id=call.id, cell=execution.number, failed=execution.status not in ("ok", "final"))
            )
        else:
            answers.append(ToolCallAnswer(id=call.id, text=NOT_RUN, failed=True))
    return tuple(answers)


def _answer(call: PendingToolCall, result: CallResult, max_chars: int) -> ToolCallAnswer:
    if result.error is not None:
        # The model knows the function by the name that it called.
        words = f"{result.error_type}: {call.name}: {result.error.removeprefix(f'{call.function}: ')}"
        if result.partial:
            words += f"; it said: {result.partial}"
        return ToolCallAnswer(id=call.id, text=cut_middle(words, max_chars), failed=True)
    value = result.value
    if call.function in (RECALL, LIST):
        return ToolCallAnswer(id=call.id, text=cut_middle(recalled(value), max_chars))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ToolCallAnswer(id=call.id, text=cut_middle(text, max_chars))
