"""Act: run the cells the model wrote."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt

from rlm_graph.bridge import in_thread
from rlm_graph.budget import Usage
from rlm_graph.calls.subcalls import CallScope, Subcalls
from rlm_graph.calls.tool_calls import call_each, each, in_order
from rlm_graph.channels import RLMState, RLMUpdate
from rlm_graph.context import ContextStore
from rlm_graph.context.kept_answers import kept
from rlm_graph.events.emitting import emit_cell, emit_output
from rlm_graph.executors.attachment import Attachment, attachment_of
from rlm_graph.executors.base import BeginsAhead, Executor, RepeatsReadings, Repl, progress_of, repl_name
from rlm_graph.langgraph_internals import checkpointer_of, is_of_this_machine, namespace_of
from rlm_graph.ledger import Ledger
from rlm_graph.recovery.replay import Replay
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.state import Execution, ToolCallAnswer, Turn, Variable

INTERRUPT_GRACE_S = 5.0
"""Seconds that a cell has to end after it was interrupted at the run's time ceiling."""


async def act(
    state: RLMState,
    *,
    executor: Executor,
    subcalls: Subcalls,
    store: ContextStore,
    snapshots: SnapshotStore,
    strict_replay: bool,
) -> RLMUpdate:
    """Run the pending cells, one after another until one fails or gives the answer, and record the turn.

    Calls that the model makes itself, instead of writing code that makes them, are made meanwhile. A mistake in the
    code becomes part of the turn, for the model to read. A failure of the sandbox leaves as `ExecutorError`: the last
    checkpoint then holds the run.
    """
    config = get_config()
    ledger = Ledger(state["budget"], state["usage"], earlier_subcalls=state.get("earlier_subcalls", 0))
    scope = subcalls.within(ledger, config)
    replay = Replay(
        subcalls=subcalls,
        ledger=ledger,
        config=config,
        store=store,
        snapshots=snapshots,
        timeout_s=executor.cell_timeout_s,
        strict=strict_replay,
    )
    handle = state.get("repl")
    if state["cells"]:
        async with _attached(executor, state, scope, config) as repl:
            if any(cell.branch == scope.namespace for cell in repl.past):
                await scope.charge_recorded()
            (notes, executions), answers = await each(
                _run_code(repl, replay, state, scope, ledger, executor.cell_timeout_s),
                _make_calls(state, scope),
                scope=scope,
            )
            executions = await _with_kept_answer(executions, store, config)
            turn = _turn(state, scope, executions, answers, notes, await repl.variables())
            handle = repl.handle
            if turn.executions[-1].final is None:
                await snapshots.take(repl, [*state["turns"], turn], state["contexts"])
    else:
        variables = state["turns"][-1].variables if state["turns"] else ()
        turn = _turn(state, scope, (), await _make_calls(state, scope), (), variables)
    for execution in turn.executions:
        ledger.charge(Usage(cpu_s=execution.cpu_s, peak_memory_bytes=execution.peak_memory_bytes))
    final = turn.executions[-1].final if turn.executions else None
    met = None if final is not None else ledger.exceeded()
    return {
        "turns": [turn],
        "cells": [],
        "native": [],
        "final": final,
        "repl": handle,
        "usage": ledger.used,
        "ceiling": None if met is None else met.ceiling,
    }


async def _with_kept_answer(
    executions: Sequence[Execution], store: ContextStore, config: RunnableConfig
) -> Sequence[Execution]:
    """Put a large answer into the store, where the run is recorded on this machine too."""
    *others, last = executions
    saver = checkpointer_of(config)
    if last.final is None or saver is None or not is_of_this_machine(saver):
        return executions
    return [*others, last.model_copy(update={"final": await in_thread(kept, last.final, store)})]


def _turn(
    state: RLMState,
    scope: CallScope,
    executions: Sequence[Execution],
    answers: Mapping[str, ToolCallAnswer],
    notes: Sequence[str],
    variables: Sequence[Variable],
) -> Turn:
    return Turn(
        number=len(state["turns"]) + 1,
        namespace=scope.namespace,
        contexts=len(state["contexts"]),
        executions=tuple(executions),
        calls=scope.calls(),
        answers=in_order(state.get("native", ()), answers, executions),
        variables=tuple(variables),
        notes=(*state["notes"], *notes),
    )


async def _make_calls(state: RLMState, scope: CallScope) -> Mapping[str, ToolCallAnswer]:
    return await call_each(state.get("native", ()), scope, max_chars=state["budget"].max_output_chars)


async def _run_code(
    repl: Repl, replay: Replay, state: RLMState, scope: CallScope, ledger: Ledger, cell_timeout_s: float
) -> tuple[Sequence[str], Sequence[Execution]]:
    notes = await replay.rebuild(repl, state["turns"], state["contexts"])
    return notes, await _run_cells(repl, state, scope, ledger, cell_timeout_s)


@asynccontextmanager
async def _attached(
    executor: Executor, state: RLMState, scope: CallScope, config: RunnableConfig
) -> AsyncIterator[Repl]:
    """Attach to the run's REPL; to one of this act's own if that is gone, or belongs to another branch of the run."""
    attachment, name = attachment_of(config) or Attachment(), _repl_name(config)
    async with AsyncExitStack() as stack:
        if attachment_of(config) is None:
            stack.push_async_callback(attachment.aclose)
        handle = state.get("repl")
        repl = await stack.enter_async_context(attachment.attached(executor, handle, name=name, tools=scope.tools))
        if not Replay.belongs_to(repl, state["turns"], scope.namespace):
            repl = await stack.enter_async_context(attachment.attached(executor, None, name=name, tools=scope.tools))
        yield repl


async def _run_cells(
    repl: Repl, state: RLMState, scope: CallScope, ledger: Ledger, cell_timeout_s: float
) -> list[Execution]:
    executions: list[Execution] = []
    for number, cell in enumerate(state["cells"], start=last_number(state["turns"]) + 1):
        emit_cell(cell)
        if isinstance(repl, RepeatsReadings):
            repl.give_readings(await scope.recorded_readings(number))
        if isinstance(repl, BeginsAhead):
            repl.begin_ahead(scope.ahead)
        running = asyncio.ensure_future(
            repl.run(
                cell,
                number=number,
                serve=functools.partial(scope.serve, number, progress=progress_of(repl)),
                timeout_s=cell_timeout_s,
                branch=scope.namespace,
            )
        )
        try:
            executions.append(await _until_ceiling(running, repl, ledger))
        except GraphInterrupt:
            # The first call that waits for a human ended the wait for the cell; others may wait too.
            raise GraphInterrupt(scope.interrupts) from None
        finally:
            running.cancel()
        emit_output(executions[-1])
        scope.note_readings(number, executions[-1].readings)
        if executions[-1].status != "ok":
            break
    return executions


async def _until_ceiling(running: asyncio.Future[Execution], repl: Repl, ledger: Ledger) -> Execution:
    """Wait for a cell, and interrupt it when the run's time is over."""
    done, _ = await asyncio.wait({running}, timeout=ledger.seconds_left)
    if not done:
        await repl.interrupt()
        done, _ = await asyncio.wait({running}, timeout=INTERRUPT_GRACE_S)
    if not done:
        await repl.kill()
    return await running


def _repl_name(config: RunnableConfig) -> str:
    """Name the REPL that the run would start here, so that a run killed before it stored the handle finds it again."""
    return repl_name(config["configurable"].get("thread_id", ""), namespace_of(config))


def last_number(turns: Sequence[Turn]) -> int:
    """Return the number of the last cell that ran; 0 before the first."""
    return next((turn.executions[-1].number for turn in reversed(turns) if turn.executions), 0)
