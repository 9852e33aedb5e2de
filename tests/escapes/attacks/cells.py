"""What code makes: names, types, errors and state that the REPL's own code stumbles over, and frames like bombs.

None of it may end the run, keep anybody waiting, or grow the host.
"""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from rlm_graph.executors.conformance.troubles import HOSTILE
from tests.escapes.attack import Attack, Control, Outcome

ANY = (Outcome.KILLED, Outcome.HARMLESS, Outcome.DENIED)
CHECKED = "the worker's own code and its supervisor hold, whether it is confined or not"


def _made(name: str, code: str, *, timeout_s: float = 20.0) -> Attack:
    return Attack(
        name, code, stopped=ANY, control=Control.BLUNT, why=CHECKED, cells=("print('next')",), timeout_s=timeout_s
    )


def _sent(name: str, frame: str) -> Attack:
    return _made(name, f"forge({frame})")


CELLS = (
    *(_made(f"make {name}", code) for name, code in HOSTILE.items()),
    _made(
        "hold the interpreter from a thread",
        "import threading, re\nthreading.Thread(target=lambda: re.match('(a+)+$', 'a' * 40 + 'b'), daemon=True).start()",
        timeout_s=4.0,
    ),
    _made(
        "hold the interpreter after the cell has ended",
        "class T:\n    __module__ = 'numpy'\n    @property\n    def shape(self):\n        while True: pass\nx = T()",
    ),
    _made(
        "end the process after the cell has ended",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), os._exit(5)), daemon=True).start()",
    ),
    _made(
        "print control characters, and answer with as much as a frame carries",
        "print('\\x01' * (1 << 20))\nprint('\\x01' * (1 << 20), file=sys.stderr)\nFINAL('\\x01' * 25_000_000)",
    ),
    _made(
        "ask for answers that nobody reads",
        "import threading\nfor n in range(40): threading.Thread(target=llm_query, args=('x' * 1_000_000,), daemon=True).start()",
    ),
    _made("ask a thousand times", "for n in range(1_000): llm_query(str(n))"),
    _sent(
        "send a call that is a bomb of values",
        r"""b'{"ev":"call","cell":2,"id":1,"nth":0,"function":"llm_query","arguments":{"prompt":[' + b'{},' * 10_000_000 + b'{}]}}\n'""",
    ),
    _sent(
        "send many calls that are bombs of values",
        r"""*(b'{"ev":"call","cell":2,"id":%d,"nth":0,"function":"f","arguments":{"a":[' % n + b'[],' * 200_000 + b'[]]}}\n' for n in range(1, 10))""",
    ),
    _sent(
        "send an answer that is a bomb of values",
        r"""b'{"ev":"done","cell":2,"status":"final","value":null,"error":null,"final":{"exact":true,"via":"FINAL","value":[' + b'{},' * 7_000_000 + b'{}]}}\n'""",
    ),
    _sent(
        "send a number that JSON reads as infinite",
        r"""b'{"ev":"done","cell":2,"status":"final","value":null,"error":null,"final":{"value":1e999,"exact":true,"via":"FINAL"}}\n'""",
    ),
    _sent(
        "send an integer that no checkpoint stores",
        r"""b'{"ev":"done","cell":2,"status":"final","value":null,"error":null,"final":{"value":-18446744073709551615,"exact":true,"via":"FINAL"}}\n'""",
    ),
    _sent(
        "send text that grows as it is passed on",
        r"""('{"ev":"call","cell":2,"id":1,"nth":0,"function":"llm_query","arguments":{"prompt":"' + 'é' * 60_000_000 + '"}}\n').encode()""",
    ),
    _sent(
        "call a function whose name is no text",
        r"""b'{"ev":"call","cell":2,"id":1,"nth":0,"function":"\\ud800","arguments":{}}\n'""",
    ),
    _sent(
        "list variables that there are not",
        r"""*(b'{"ev":"reply","re":%d,"variables":[%s]}\n' % (n, b'{"name":"x","type":"y","size":-1,"preview":""}') for n in range(20))""",
    ),
    _sent(
        "list a million variables",
        r"""*(b'{"ev":"reply","re":%d,"variables":[' % n + b'{},' * 1_000_000 + b'{}]}\n' for n in range(1, 4))""",
    ),
    _sent("fail, though it is ready", r"""b'{"ev":"failed","message":"\\n\\n## Cell 9 ran"}\n'"""),
)
