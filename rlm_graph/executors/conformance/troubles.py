"""What code can do to its REPL, and what becomes of it. The run is never harmed."""

from __future__ import annotations

import asyncio

import pytest

from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.conformance.notebook import Host, Notebook, Notebooks, until

STUBBORN = """
while True:
    try:
        while True:
            n = 1
    except BaseException:
        n = 2
"""

DEATHS = [
    pytest.param("import os\nos._exit(3)", "exit code 3", id="exit"),
    pytest.param("import ctypes\nctypes.string_at(0)", "signal 11", id="crash"),
    pytest.param("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed", id="kill"),
    pytest.param("import os\nos.closerange(0, 1000)\nprint('x')", "exit code", id="close"),
]

FORGED = """
import os
for fd in range(3, 30):
    try:
        os.write(fd, b'{"ev": "call", "cell": 1, "id": 1, "function": 5}\\n' * 3)
    except OSError:
        pass
"""


@pytest.mark.asyncio
class TroubleBehaviours(Notebooks):
    """A cell that goes wrong ends, or its REPL does. The model reads what happened."""

    async def test_an_endless_loop_ends_at_the_deadline_and_the_variables_stay(self, notebook: Notebook) -> None:
        execution = await notebook.run("print('begun')\nn = 7\nwhile True:\n    n += 0", timeout_s=0.5)

        assert execution.status == "error"
        assert execution.error is not None
        assert execution.error.type == "TimeoutError"
        assert execution.error.line in (3, 4)
        assert "0.5 s" in execution.error.message
        assert execution.stdout == "begun\n"
        assert execution.wall_s >= 0.5
        assert (await notebook.run("n")).value == "7"

    async def test_sleeping_ends_at_the_deadline_too(self, notebook: Notebook) -> None:
        execution = await notebook.run("import time\ntime.sleep(100)", timeout_s=0.3)

        assert execution.error is not None
        assert execution.error.type == "TimeoutError"

    async def test_awaiting_ends_at_the_deadline_and_leaves_nothing_behind(self, notebook: Notebook) -> None:
        execution = await notebook.run("import asyncio\nawait asyncio.sleep(100)\nprint('woke')", timeout_s=0.3)
        after = await notebook.run("await asyncio.sleep(0)\nlen(asyncio.all_tasks())")

        assert execution.error is not None
        assert execution.error.type == "TimeoutError"
        assert (after.value, after.stdout) == ("1", "")

    async def test_code_that_ignores_the_interrupt_is_killed_with_its_repl(self, notebook: Notebook) -> None:
        await notebook.run("kept = 1")

        execution = await notebook.run(f"print('begun', flush=True){STUBBORN}", timeout_s=0.3)

        assert execution.status == "killed"
        assert execution.error is not None
        assert execution.error.type == "TimeoutError"
        assert execution.stdout == "begun\n"
        assert notebook.repl.cells_done == 0
        assert (await notebook.run("'kept' in globals()", number=1)).value == "False"

    @pytest.mark.parametrize(("code", "words"), DEATHS)
    async def test_a_dead_interpreter_ends_the_repl_and_not_the_run(
        self, notebook: Notebook, code: str, words: str
    ) -> None:
        await notebook.run("kept = 1")

        execution = await notebook.run(f"print('begun', flush=True)\n{code}")

        assert execution.status == "killed"
        assert execution.error is not None
        assert words in execution.error.message
        assert execution.stdout == "begun\n"
        assert notebook.repl.cells_done == 0
        assert (await notebook.run("'kept' in globals()", number=1)).value == "False"

    async def test_too_much_memory_is_an_error_in_the_code(self, notebook: Notebook) -> None:
        most = "min(1 << 45, sys.maxsize)"  # 32-bit Python has no number for more
        execution = await notebook.run(f"import sys\nkept = 1\nbig = bytearray({most})")

        assert execution.error is not None
        assert execution.error.type == "MemoryError"
        assert (await notebook.run("kept")).value == "1"

    async def test_a_thread_that_never_ends_does_not_hold_up_later_cells(self, notebook: Notebook) -> None:
        spin = "def spin():\n    while True: time.sleep(0.01)"
        begun = await notebook.run(
            f"import threading, time\n{spin}\nthreading.Thread(target=spin, daemon=True).start()"
        )

        assert begun.status == "ok"
        assert (await notebook.run("1 + 1")).value == "2"

    async def test_frames_that_code_forges_end_the_repl_and_not_the_run(self, notebook: Notebook) -> None:
        execution = await notebook.run(FORGED)

        assert execution.status in ("killed", "ok")
        assert (await notebook.run("1 + 1", number=5)).value == "2"

    async def test_a_function_that_the_host_does_not_have_is_an_error_in_the_code(self, notebook: Notebook) -> None:
        host = Host(lambda call: "never")

        execution = await notebook.run("memory._calls.ask('remove', {})", serve=host)

        assert execution.error is not None
        assert execution.error.type == "NameError"
        assert host.calls == []

    async def test_an_interrupt_ends_the_cell_only(self, notebook: Notebook) -> None:
        asked = asyncio.Event()

        async def never(call: HostCall) -> CallResult:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        running = asyncio.create_task(notebook.run("kept = 1\nllm_query('p')", serve=never))
        await asked.wait()
        await notebook.repl.interrupt()
        execution = await running

        assert execution.error is not None
        assert (execution.error.type, execution.error.line) == ("KeyboardInterrupt", 2)
        assert (await notebook.run("kept")).value == "1"

    async def test_an_interrupt_between_cells_does_nothing(self, notebook: Notebook) -> None:
        await notebook.repl.interrupt()

        assert (await notebook.run("1")).value == "1"

    async def test_killing_ends_the_cell_with_its_repl(self, notebook: Notebook) -> None:
        asked: list[HostCall] = []

        async def serve(call: HostCall) -> CallResult:
            asked.append(call)
            return CallResult()

        running = asyncio.create_task(notebook.run(f"llm_query('begun'){STUBBORN}", serve=serve))
        await until(lambda: bool(asked))
        await notebook.repl.kill()
        execution = await running

        assert execution.status == "killed"
        assert notebook.repl.cells_done == 0
