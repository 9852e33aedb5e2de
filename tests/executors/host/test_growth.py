"""What code makes does not grow the host: each cell runs from a process of its own, which is measured."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rlm_graph.executors.sandbox.confinement.confine import probe

pytestmark = pytest.mark.skipif(bool(probe()["missing"]), reason=f"this kernel cannot confine: {probe()['missing']}")

MOST_MB = 150
"""By which it may grow. The cells would take a gigabyte and more if all that they say were made objects."""

HOST = """
import asyncio, json, sys
from pathlib import Path
from rlm_graph.executors.base import CallResult
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import LocalSettings
from rlm_graph.state import Cell

def peak_mb(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) >> 10

async def serve(call):
    return CallResult(value="x" * (1 << 20))

async def main():
    executor = LocalExecutor(LocalSettings())
    async with executor.attached(None) as repl:
        await repl.run(Cell(code="1"), number=1, serve=serve, timeout_s=30)
        before = peak_mb("self")
        execution = await repl.run(Cell(code=sys.stdin.read()), number=2, serve=serve, timeout_s=60)
        listed = await repl.variables()
        grown = peak_mb("self") - before
        number = 1 if execution.status == "killed" else 3
        after = await repl.run(Cell(code="1 + 1"), number=number, serve=serve, timeout_s=30)
    await executor.close(repl.handle)
    print(json.dumps({"grown": grown, "status": execution.status, "after": after.value, "listed": len(listed)}))

asyncio.run(main())
"""

SEND = """
import os
def send(line):
    for fd in range(3, 30):
        try:
            rest = line
            while rest:
                rest = rest[os.write(fd, rest):]
        except OSError:
            pass
"""

CELLS = {
    "an answer of seven million empty dicts": "FINAL([{}] * 7_000_000)",
    "arguments of seven million empty dicts": "rlm_query('q', [{}] * 7_000_000)",
    "a forged answer": SEND
    + """
send(b'{"ev":"done","cell":2,"status":"final","value":null,"error":null,"final":{"exact":true,"via":"FINAL","value":'
    + b'[' + b'{},' * 10_000_000 + b'{}]}}\\n')""",
    "a forged call": SEND
    + """send(b'{"ev":"call","cell":2,"id":1,"nth":0,"function":"llm_query","arguments":{"prompt":['
    + b'{},' * 10_000_000 + b'{}]}}\\n')""",
    "forged calls, each as large as one may be": SEND
    + """
for n in range(1, 12):
    send(b'{"ev":"call","cell":2,"id":%d,"nth":0,"function":"llm_query","arguments":{"prompt":[' % n
    + b'{},' * 230_000 + b'{}]}}\\n')""",
    "a forged list of variables": SEND
    + """
for n in range(1, 5):
    send(b'{"ev":"reply","re":%d,"variables":[' % n + b'{},' * 5_000_000 + b'{}]}\\n')""",
    "three hundred thousand names": "for n in range(300_000):\n    globals()[f'v{n}'] = n",
    "long names": "for n in range(1_000):\n    globals()[f'{n}' + 'n' * 100_000] = n",
    "answers that are kept by nobody": "for n in range(300):\n    llm_query(str(n))",
}


@pytest.mark.parametrize("code", CELLS.values(), ids=CELLS)
def test_what_a_cell_makes_does_not_grow_the_host(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", HOST], input=code, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["grown"] < MOST_MB
    assert told["after"] == "2"
    assert told["listed"] <= 1_000
