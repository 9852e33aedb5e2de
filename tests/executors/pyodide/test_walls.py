"""What stands between the code and this machine."""

from __future__ import annotations

import asyncio
import os
import textwrap
from pathlib import Path

import pytest

from rlm_graph.executors.conformance import Host, Notebook
from rlm_graph.executors.pyodide import PyodideExecutor

pytestmark = pytest.mark.pyodide


async def test_deno_is_confined_by_the_kernel_from_its_first_line(executor: PyodideExecutor, own: Notebook) -> None:
    (program,) = [pid for pid in _processes() if _argument(pid, executor)]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{program}/status").read_text().splitlines() if ":\t" in line
    )

    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["CapEff"].strip("0") == ""
    assert os.getsid(program) != os.getsid(0)
    names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{program}/environ").read_bytes().split(b"\0") if entry}
    assert names == {b"DENO_DIR", b"DENO_NO_UPDATE_CHECK", b"NO_COLOR", b"LANG"}


async def test_no_name_leads_to_javascript(own: Notebook) -> None:
    code = """
        import sys
        for name in ("js", "pyodide_js", "pyodide", "pyodide.ffi", "pyodide.code", "_pyodide_core"):
            try: print(__import__(name))
            except ImportError: pass
        del name
        print([key for key, value in list(globals().items()) if "yodide" in repr(value)], sys.meta_path[3:])
    """

    assert await own.printed(textwrap.dedent(code)) == "[] []\n"


async def test_an_interrupt_ends_a_wait_in_javascript(own: Notebook) -> None:
    begun = asyncio.Event()

    def reply(call: object) -> str:
        begun.set()
        return "go on"

    running = asyncio.create_task(own.run("llm_query('x')\nimport time\ntime.sleep(1000)", serve=Host(reply)))
    await begun.wait()
    await asyncio.sleep(0.05)
    await own.repl.interrupt()
    execution = await running

    assert execution.error is not None
    assert execution.error.type == "KeyboardInterrupt"


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _argument(pid: int, executor: PyodideExecutor) -> bool:
    """Whether it is a Deno whose current folder is that of one of the executor's REPLs."""
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
        return program.endswith(b"deno") and os.readlink(f"/proc/{pid}/cwd").startswith(str(executor._folder))
    except OSError:
        return False
