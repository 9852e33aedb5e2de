from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import CallResult, Executor, HostCall, Repl
from rlm_graph.state import Cell, ContextRef, Execution
from rlm_graph.testing import ScriptedExecutor
from rlm_graph.testing.cells import Bind, Break, Call, Compute, Die, Event, Expression, Fail, Final, Output


async def echo(call: HostCall) -> CallResult:
    return CallResult(value=f"{call.function}:{call.arguments.get('prompt')}:{call.nth}")


async def run(repl: Repl, code: str = "code", number: int = 1, **options: Any) -> Execution:
    return await repl.run(Cell(code=code), number=number, **{"serve": echo, "timeout_s": 30.0, **options})


async def outcome(*events: Event, **options: Any) -> Execution:
    executor = ScriptedExecutor({"code": events})
    async with executor.attached(None) as repl:
        return await run(repl, **options)


def test_it_keeps_the_protocol() -> None:
    executor: Executor = ScriptedExecutor({})

    assert executor.kind == "scripted"
    assert executor.declared == {}


async def test_a_cell_does_what_its_events_say() -> None:
    execution = await outcome(
        Output("before\n"),
        Call("llm_query", {"prompt": "x"}),
        [Call("llm_query", {"prompt": "x"}), Call("llm_query", {"prompt": "y"})],
        Output(lambda results: "; ".join(map(str, results))),
        Output("oh", "stderr"),
        Expression("42"),
    )

    assert execution.status == "ok"
    assert execution.stdout == "before\nllm_query:x:0; llm_query:x:1; llm_query:y:0"
    assert execution.stdout_chars == len(execution.stdout)
    assert (execution.stderr, execution.value, execution.calls) == ("oh", "42", 3)


async def test_an_answer_or_an_error_ends_the_cell() -> None:
    final = await outcome(Call("f"), Final(lambda results: {"got": results}, via="FINAL_VAR"), Output("never"))
    failed = await outcome(Output("a"), Fail("ZeroDivisionError", "division by zero", line=3), Output("never"))

    assert final.status == "final"
    assert final.final is not None
    assert (final.final.value, final.final.via) == ({"got": ["f:None:0"]}, "FINAL_VAR")
    assert (failed.status, failed.stdout) == ("error", "a")
    assert failed.error is not None
    assert (failed.error.type, failed.error.line) == ("ZeroDivisionError", 3)


async def test_an_error_of_the_host_ends_the_cell_unless_the_code_catches_it() -> None:
    async def refuse(call: HostCall) -> CallResult:
        return CallResult(error="nothing left", error_type="BudgetExceeded")

    ended = await outcome(Call("f"), Output("never"), serve=refuse)
    caught = await outcome(Call("f", catch=True), Output(lambda results: str(results)), serve=refuse)

    assert ended.error is not None
    assert ended.error.type == "BudgetExceeded"
    assert caught.stdout == "['nothing left']"


async def test_a_cell_runs_once_and_its_variables_outlive_it() -> None:
    executor = ScriptedExecutor(lambda code: [Bind(code, "int", preview="1"), Output(code)])
    async with executor.attached(None, name="0" * 16) as repl:
        first = await run(repl, "a")
        handle = repl.handle
    async with executor.attached(handle) as repl:
        assert await run(repl, "a") == first
        assert (await run(repl, "b", 2)).stdout == "b"
        assert repl.cells_done == 2
        assert [variable.name for variable in await repl.variables()] == ["a", "b"]
    async with executor.attached(None, name="0" * 16) as repl:
        assert repl.handle == handle

    assert executor.started == [(handle.id, 1, "a"), (handle.id, 2, "b")]


async def test_a_cancelled_host_finds_the_cell_where_it_was() -> None:
    reached = asyncio.Event()
    served: list[str] = []

    async def stop_at_second(call: HostCall) -> CallResult:
        served.append(call.function)
        if call.function == "second":
            reached.set()
            await asyncio.Event().wait()
        return CallResult(value=1)

    executor = ScriptedExecutor({"code": [Call("first"), Call("second"), Output("done")]})
    async with executor.attached(None) as repl:
        handle = repl.handle
        running = asyncio.create_task(run(repl, serve=stop_at_second))
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    async with executor.attached(handle) as repl:
        execution = await run(repl)

    assert served == ["first", "second"]
    assert (execution.stdout, execution.calls) == ("done", 2)
    assert len(executor.started) == 1


async def test_a_computing_cell_can_be_interrupted_killed_or_timed_out() -> None:
    async def while_computing(stop: str) -> tuple[Execution, ScriptedExecutor]:
        executor = ScriptedExecutor({"code": [Call("f"), Compute()]})
        computing = asyncio.Event()

        async def tell(call: HostCall) -> CallResult:
            computing.set()
            return CallResult()

        async with executor.attached(None) as repl:
            running = asyncio.create_task(run(repl, serve=tell))
            await computing.wait()
            await getattr(repl, stop)()
            return await running, executor

    interrupted, _ = await while_computing("interrupt")
    killed, executor = await while_computing("kill")
    late = await outcome(Compute(), timeout_s=0.01)

    assert interrupted.error is not None
    assert interrupted.error.type == "KeyboardInterrupt"
    assert killed.status == "killed"
    assert executor.living == []
    assert late.error is not None
    assert late.error.type == "TimeoutError"


async def test_an_interrupt_while_nothing_runs_does_nothing() -> None:
    executor = ScriptedExecutor({"first": [], "code": [Compute()]})
    async with executor.attached(None) as repl:
        await run(repl, "first")
        await repl.interrupt()
        late = await run(repl, number=2, timeout_s=0.01)

    assert late.error is not None
    assert late.error.type == "TimeoutError"


async def test_a_repl_that_dies_is_gone_and_the_next_one_is_fresh() -> None:
    executor = ScriptedExecutor({"code": [Bind("x"), Die()]})
    async with executor.attached(None) as repl:
        handle = repl.handle
        assert (await run(repl)).status == "killed"
    async with executor.attached(handle) as repl:
        assert repl.handle.id != handle.id
        assert repl.cells_done == 0
        executor.lose(repl.handle)
    assert executor.living == []


async def test_a_broken_sandbox_raises_and_goes_on_when_asked_again() -> None:
    executor = ScriptedExecutor({"code": [Break("no disk"), Output("recovered")]})
    async with executor.attached(None) as repl:
        with pytest.raises(ExecutorError, match="no disk"):
            await run(repl)
        assert (await run(repl)).stdout == "recovered"


async def test_a_replay_has_the_same_digest_and_another_output_another() -> None:
    first = await outcome(Call("f", {"prompt": "x"}), Output("a"))
    replayed = await outcome(Call("f", {"prompt": "x"}), Output("a"), started_at=first.started_at)
    diverged = await outcome(Call("f", {"prompt": "x"}), Output("b"))

    assert replayed == first
    assert diverged.digest != first.digest


async def test_contexts_are_bound_and_closing_removes_the_repl() -> None:
    context = ContextRef(sha256="0" * 64, kind="str", chars=3, bytes=3)
    executor = ScriptedExecutor({})
    async with executor.attached(None) as repl:
        await repl.add_context(1, context, folder=Path())
        await repl.add_context(1, context, folder=Path())
        assert executor.contexts(repl.handle) == {1: context}
        await executor.close(repl.handle)
        await executor.close(repl.handle)

    assert executor.closed == [repl.handle.id]


async def test_code_that_the_script_does_not_know_is_the_tests_mistake() -> None:
    executor = ScriptedExecutor({"known": []})
    async with executor.attached(None) as repl:
        with pytest.raises(LookupError, match=r"no cell 'code'; it has: 'known'"):
            await run(repl)
