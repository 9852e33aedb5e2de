"""The worker from within: our objects, the interpreter, the ways in which a cell can end or refuse to."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

OWN = "the keys are in another process, which no confinement is needed for"
ENDS = (Outcome.KILLED, Outcome.HARMLESS)
ANY = (Outcome.KILLED, Outcome.HARMLESS, Outcome.DENIED)
SUPERVISED = "the supervisor ends it with or without confinement"


def _own(name: str, code: str, **more: object) -> Attack:
    return Attack(name, code, stopped=ANY, control=Control.BLUNT, why=OWN, **more)  # type: ignore[arg-type]  # a few texts


def _ends(name: str, code: str, *, timeout_s: float = 1.0, cells: tuple[str, ...] = ()) -> Attack:
    return Attack(name, code, stopped=ANY, control=Control.BLUNT, why=SUPERVISED, timeout_s=timeout_s, cells=cells)


INTERPRETER = (
    _own("read the environment", "print(dict(os.environ)); print(open('/proc/self/environ').read())"),
    _own(
        "search every object for a key",
        "import gc\nfor o in gc.get_objects():\n    for s in gc.get_referents(o):\n        if isinstance(s, str) and TOKEN_START in s: print(s)",
    ),
    _own(
        "search its own memory for a key",
        """
libc = ctypes.CDLL(None)
for line in open("/proc/self/maps"):
    bounds, rights, *_ = line.split()
    if rights.startswith("r") and "[v" not in line:
        start, end = (int(part, 16) for part in bounds.split("-"))
        data = ctypes.string_at(start, min(end - start, 8 << 20))
        at = data.find(TOKEN_START.encode())
        while at >= 0:
            print(data[at:at + 60]); at = data.find(TOKEN_START.encode(), at + 1)
""",
    ),
    _own(
        "walk the frames of our own code",
        """
f = sys._getframe()
while f:
    for name, value in f.f_locals.items(): print(f.f_code.co_name, name, str(value)[:200])
    f = f.f_back
""",
    ),
    _own(
        "reach the channel through a function's globals",
        """
seen, todo = set(), [llm_query]
while todo and len(seen) < 5000:
    o = todo.pop()
    if id(o) in seen: continue
    seen.add(id(o))
    for a in ("__globals__", "__closure__", "__self__", "__wrapped__", "__dict__", "cell_contents", "__func__"):
        try: v = getattr(o, a)
        except Exception: continue
        todo += list(v.values()) if isinstance(v, dict) else list(v) if isinstance(v, tuple) else [v]
import socket
for o in [o for o in __import__("gc").get_objects() if isinstance(o, socket.socket)]:
    print(o); o.sendall(b'{"ev":"done","cell":1,"status":"final","value":null,"error":null,"final":{"value":"forged","exact":true,"via":"FINAL"}}\\n')
""",
    ),
    _own(
        "import the host's package",
        "import rlm_graph; print(rlm_graph.__file__)\nimport rlm_graph.settings, rlm_graph.models",
    ),
    _own(
        "unpickle a program",
        "import pickle\nclass E:\n    def __reduce__(self): return (os.system, (f'echo x > {FOLDER}/never',))\nFINAL(E())",
    ),
    _own(
        "give an answer that runs code when it is shown",
        "class E:\n    def __repr__(self): raise SystemExit(3)\n    __str__ = __len__ = __iter__ = __repr__\nx = E()\nE()",
    ),
    _own(
        "give an answer that lies about itself",
        "class D(dict):\n    def items(self): return [('a', self)] * 3\n    def __len__(self): return 10**12\nclass S(str):\n    def __len__(self): return -1\n    def encode(self, *a): return b'\\xff'\nd = D(a=1); FINAL({'d': d, 's': S('x')})",
    ),
    _own("give an answer that never ends", "a = []; a.append(a); b = a\nfor _ in range(100000): b = [b]\nFINAL(b)"),
    _own(
        "name a variable by a page",
        "globals()['x' * 1_000_000] = 1; globals()[''] = 2; globals()['a\\nb\\0\\ud800'] = 3",
    ),
    _ends(
        "leave a variable whose size never returns",
        "class E:\n    def __len__(self):\n        while True: pass\n    __repr__ = __len__\nx = E()\nx",
    ),
    _ends("leave by sys.exit", "sys.exit(3)"),
    _ends("leave by os._exit", "os._exit(0)"),
    _ends("abort", "os.abort()"),
    _ends("crash", "ctypes.string_at(0)"),
    _ends("write over the interpreter", "ctypes.memset(id(None), 0, 4096); ctypes.memset(id(dict), 255, 400); {}.x"),
    _ends(
        "run bytecode that is none",
        "c = (lambda: 0).__code__.replace(co_code=bytes(range(2, 250)) * 4, co_stacksize=1); eval(c)",
    ),
    _ends("recurse without end", "sys.setrecursionlimit(10**9)\ndef f(): f()\nf()", timeout_s=3),
    _ends(
        "recurse in C",
        "o = []\nfor _ in range(3_000_000): o = [o]\nrepr(o) if 0 else (o == o.copy()); del o",
        timeout_s=3,
    ),
    _ends("raise what nobody catches", "class E(BaseException): pass\nraise E(*range(100000))"),
    _ends(
        "raise an error that cannot be shown",
        "class E(Exception):\n    def __str__(self): raise self\n    __repr__ = __str__\n    def __getattribute__(self, n): raise KeyboardInterrupt\nraise E",
    ),
    _ends(
        "chain errors without end",
        "e = None\nfor n in range(20000):\n    f = ValueError('x' * 100); f.__cause__ = e; e = f\nraise e",
    ),
    _ends("loop for ever", "while True: pass"),
    _ends(
        "loop for ever and catch everything",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    ),
    _ends("ignore the interrupt", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"),
    _ends(
        "answer the interrupt with a handler",
        "import signal; signal.signal(signal.SIGINT, lambda *_: None)\nwhile True: pass",
    ),
    _ends(
        "block every signal", "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass"
    ),
    _ends("compute where no interrupt comes through", "10 ** 10 ** 9"),
    _ends("match without end", "import re; re.match('(a+)+$', 'a' * 50 + 'b')"),
    _ends("wait for itself", "import threading; l = threading.Lock(); l.acquire(); l.acquire()"),
    _ends(
        "wait for itself in C",
        "import threading; threading.Thread(target=lambda: ctypes.CDLL(None).sleep(1000)).start(); ctypes.CDLL(None).sleep(1000); ctypes.PyDLL(None).pause()",
    ),
    _ends("hold the interpreter's lock", "ctypes.PyDLL(None).pause()"),
    _ends("sleep", "import time; time.sleep(10**6)"),
    _ends(
        "keep other threads from their turn",
        "sys.setswitchinterval(10**9)\nimport threading\nfor _ in range(4): threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()",
    ),
    _ends(
        "stop at no line", "def t(*a):\n    return t\nsys.settrace(t); sys.setprofile(lambda *a: 1/0)\nwhile True: pass"
    ),
    _ends("clean up without end", "try:\n    while True: pass\nfinally:\n    while True: pass"),
    _ends(
        "a generator that will not close",
        "def g():\n    while True:\n        try: yield\n        except BaseException: pass\nx = g(); next(x); del x",
    ),
    _ends("a destructor without end", "class E:\n    def __del__(self):\n        while True: pass\nE()"),
    _ends("an exit handler without end", "import atexit\n@atexit.register\ndef f():\n    while True: pass\nsys.exit()"),
    _ends(
        "threads that go on after the cell",
        "import threading\ndef f():\n    while True: pass\nfor _ in range(3): threading.Thread(target=f).start()",
        cells=("print('next')",),
    ),
    _ends("close every descriptor", "os.closerange(0, 4096)", cells=("print('next')",)),
    _ends(
        "put every descriptor in another's place",
        "a, b = os.pipe()\nfor fd in range(64):\n    if fd not in (a, b): os.dup2(b, fd)",
        cells=("print('next')",),
    ),
    _ends(
        "close the output", "sys.stdout.close(); sys.stderr.close(); os.close(1); os.close(2)", cells=("print('next')",)
    ),
    _ends("replace the output", "sys.stdout = sys.stderr = sys.__stdout__ = None", cells=("print('next')",)),
    _ends(
        "take the builtins away",
        "import builtins\nfor n in list(vars(builtins)):\n    if n not in ('delattr',): vars(builtins).pop(n, None)",
        cells=("1 + 1",),
    ),
    _ends(
        "take the modules away",
        "sys.modules.clear(); sys.meta_path.clear(); sys.path.clear()",
        cells=("print('next')",),
    ),
    _ends(
        "put its own functions into our modules",
        """
import json, threading, socket, queue, time, ast
def evil(*a, **k): raise SystemExit
for module in (json, threading, socket, queue, time, ast, os):
    for name in list(vars(module)):
        if callable(getattr(module, name, None)) and not name.startswith("__"):
            try: setattr(module, name, evil)
            except Exception: pass
""",
        cells=("print('next')",),
    ),
    _ends(
        "let nothing be compiled",
        "import builtins; builtins.compile = builtins.exec = builtins.eval = lambda *a, **k: None",
        cells=("print('next')",),
    ),
    _ends("lower the recursion limit", "sys.setrecursionlimit(60)", cells=("print('next')",)),
    _ends(
        "turn collection off and leave cycles",
        "import gc; gc.disable(); gc.set_threshold(1)\nfor _ in range(10000): a = []; a.append(a)",
    ),
    _ends("await for ever", "import asyncio\nawait asyncio.Event().wait()"),
    _ends("code that cannot be compiled", "(" * 100_000),
    _ends("code that is too deep", "x = " + "-" * 200_000 + "1"),
    _ends("code with nothing in it", "\0"),
)
