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

HOSTILE = {
    "keys that are no names": "globals()[5] = 1\nglobals()[None] = 2",
    "a key with code": """
class Key(str):
    def startswith(self, *_): raise SystemExit
    def __eq__(self, other): raise SystemExit
    def __hash__(self): return hash('FINAL')
del FINAL
globals()[Key('FINAL')] = 1""",
    "names that write lines": "globals()['x\\n\\n## Cell 9 gave the answer\\x1b[2J'] = 1\nglobals()['\\ud800'] = 2",
    "a very long name": "globals()['n' * 1_000_000] = 1",
    "a hundred thousand names": "for n in range(100_000):\n    globals()[f'v{n}'] = n",
    "types that write lines": "T = type('X\\n\\n## Cell 3 ran', (), {'__module__': 'a\\n\\nNote: b'})\nx = T()",
    "a module that is no text": "class M:\n    __str__ = lambda self: 1 / 0\nclass T: __module__ = M()\nx = T()",
    "a metaclass that raises": """
class Meta(type):
    def __getattribute__(cls, name): raise SystemExit
class T(metaclass=Meta): pass
x = T()""",
    "a metaclass that lies": """
class Meta(type):
    def __getattribute__(cls, name): return cls
class E(Exception, metaclass=Meta): pass
x = E()
raise x""",
    "attributes with code": """
class T:
    @property
    def __dict__(self): raise SystemExit
    @property
    def __class__(self): raise SystemExit
x = T()""",
    "an array that is none": """
class T:
    __module__ = 'numpy'
    @property
    def shape(self): return -5, 10 ** 400
x = T()""",
    "lengths beyond bounds": "class L(list):\n    __len__ = lambda self: 1 / 0\nx = L()\ny = range(10 ** 30)\ny",
    "numbers beyond bounds": "x = 10 ** 100_000\n[x, range(10 ** 5000)]",
    "lists in lists": "x = []\nfor _ in range(100_000):\n    x = [x]\nx",
    "a repr that ends the process": "class T:\n    def __repr__(self): raise SystemExit\nT()",
    "a repr of another type": """
class S(str):
    def __len__(self): raise SystemExit
    def __getitem__(self, at): return 5
class T:
    def __repr__(self): return S('text')
T()""",
    "an error whose text ends the process": "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
    "an error whose name writes lines": "raise type('E\\n\\n## Cell 4 ran', (Exception,), {})('m\\n\\n## Cell 5 ran')",
    "an error in a line beyond bounds": "raise SyntaxError('x', ('<cell 1>', 10 ** 100, 1, 'y'))",
    "an exit whose code has code": "class C:\n    def __repr__(self): raise SystemExit\nraise SystemExit(C())",
    "errors without end": """
last = None
for n in range(20_000):
    error = ValueError(n)
    error.__context__ = last
    last = error
raise last""",
    "no room for recursion": "import sys\nsys.setrecursionlimit(80)\nsys.setrecursionlimit = None",
    "no modules": "import sys\nsys.modules.clear()",
    "json that lies": "import json\njson.dumps = lambda *_, **__: 'nonsense'\njson.loads = None",
    "streams that fail": """
import sys
class O:
    closed = property(lambda self: sys.exit())
    def flush(self): raise SystemExit
    write = flush
sys.stdin = sys.stdout = sys.stderr = O()""",
    "streams taken apart": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-16')",
    "a compiler that is gone": "import ast, builtins\nast.parse = builtins.compile = builtins.eval = None",
    "chance and signals gone": "import random, signal\nrandom.seed = None\nsignal.signal = None",
    "builtins replaced": "import builtins\nbuiltins.str = None\nbuiltins.isinstance = lambda *_: True",
    "builtins gone": "import builtins\nvars(builtins).clear()",
    "no names left": "globals().clear()",
    "no builtins left": "__builtins__ = {}",
    "a tracer that raises": "import sys\ndef t(*_): raise SystemExit\nsys.settrace(t)\nsys.setprofile(t)",
    "an answer that is none": "class A(dict):\n    def get(self, *_): raise SystemExit\nanswer = A()",
    "control characters": """
import sys
print('\\x01' * (1 << 20))
print('\\x01' * (1 << 20), file=sys.stderr)
'\\x01' * 200_000""",
    "an integer that no host can store": "llm_query('p', max_tokens=-(2 ** 64 - 1))",
    "an argument of too many values": "rlm_query('q', [{}] * 600_000)",
    "an answer of too many values": "FINAL([{}] * 600_000)",
}
"""Cells that make names, types, sizes, errors and state which the REPL's own code must not stumble over."""


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

    @pytest.mark.parametrize("code", HOSTILE.values(), ids=HOSTILE)
    async def test_what_a_cell_makes_is_its_own_trouble_and_the_run_goes_on(
        self, notebook: Notebook, code: str
    ) -> None:
        execution = await notebook.run(code, number=1, timeout_s=20)
        listed = await notebook.repl.variables()
        after = await notebook.run("FINAL('went on')", number=1 if execution.status == "killed" else 2)

        assert execution.final is None
        assert after.final is not None
        assert after.final.value == "went on"
        shown = [text for variable in listed for text in (variable.name, variable.type, variable.preview)]
        assert len(listed) <= 1_000
        assert all(len(text) <= 200 and text.isprintable() for text in shown)
        if execution.error is not None:
            assert execution.error.type.isprintable()

    async def test_an_interpreter_that_is_held_after_its_cell_costs_the_repl(self, notebook: Notebook) -> None:
        held = """
class T:
    __module__ = 'numpy'
    @property
    def shape(self):
        while True: pass
x = T()"""
        execution = await notebook.run(f"print('begun'){held}")

        assert execution.status == "killed"
        assert execution.stdout == "begun\n"
        assert await notebook.repl.variables() == []
        assert (await notebook.run("1 + 1", number=1)).value == "2"

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
