"""JavaScript, from a Python that runs in it: its objects, its globals, Deno's, and what lies around."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

ANY = (Outcome.DENIED, Outcome.HARMLESS, Outcome.KILLED)
ELSEWHERE = "there is JavaScript in no other executor"

PRELUDE = '''
import gc, sys

def proxies():
    """Every object of JavaScript that Python's memory still knows."""
    found, seen = [], set()
    todo = [*gc.get_objects(), *sys.modules.values()]
    while todo and len(seen) < 400_000:
        o = todo.pop()
        if id(o) in seen: continue
        seen.add(id(o))
        if type(o).__name__ == "JsProxy" or "JsProxy" in [c.__name__ for c in type(o).__mro__]: found.append(o)
        todo += gc.get_referents(o)
    return found

def functions(name):
    """Functions of that name, wherever one is left."""
    return [o for o in gc.get_objects() if callable(o) and getattr(o, "__name__", "") == name]

def hidden(name):
    """A function of Pyodide's own, by any of the ways that lead to one."""
    for module in ("_pyodide_core", "pyodide.ffi", "pyodide.code"):
        sys.modules.pop(module, None)
    try:
        import _pyodide_core
        return getattr(_pyodide_core, name)
    except (ImportError, AttributeError):
        for o in gc.get_objects():
            if isinstance(o, dict) and name in o and callable(o[name]): return o[name]
            if getattr(o, "__name__", "") == name and callable(o): return o
        raise

def js(value):
    """An object of JavaScript, made from one of Python's."""
    return hidden("to_js")(value)
'''


def _js(name: str, code: str, **more: object) -> Attack:
    return Attack(name, PRELUDE + code, stopped=ANY, control=Control.NOT_RUN, why=ELSEWHERE, **more)  # type: ignore[arg-type]  # a few texts


JAVASCRIPT = (
    _js("import the globals of JavaScript", "attempt(lambda: __import__('js').Deno)"),
    _js("import them after they were hidden", "sys.modules.pop('js', None); attempt(lambda: __import__('js').Deno)"),
    _js(
        "import Pyodide's interface",
        "sys.modules.pop('pyodide_js', None); attempt(lambda: __import__('pyodide_js').FS)",
    ),
    _js(
        "find the importer of JavaScript",
        "attempt(lambda: [f.jsproxies for f in gc.get_objects() if getattr(type(f), '__name__', '') == 'JsFinder' and f.jsproxies] or None)",
    ),
    _js(
        "find objects of JavaScript in memory",
        "attempt(lambda: [dir(p) for p in proxies() if 'Deno' in dir(p) or 'fetch' in dir(p) or 'postMessage' in dir(p)] or None)",
    ),
    _js("evaluate JavaScript", "attempt(lambda: hidden('run_js')('1 + 1'))"),
    _js(
        "evaluate JavaScript to reach Deno",
        "attempt(lambda: hidden('run_js')('Deno.readTextFileSync(\"' + SECRET + '\")'))",
    ),
    _js(
        "make a function by a constructor's constructor",
        "attempt(lambda: js([1]).constructor.constructor('return globalThis')())",
    ),
    _js(
        "make a function of another kind",
        "attempt(lambda: js([1]).entries().constructor.constructor('return globalThis')())",
    ),
    _js(
        "make an asynchronous function",
        "attempt(lambda: js({'a': 1}).constructor.getPrototypeOf(js([1]).constructor['from']).constructor('return 1')())",
    ),
    _js(
        "climb the chain of prototypes",
        "o = js([1])\nfor _ in range(20):\n    attempt(lambda: getattr(o, 'Deno') or getattr(o, 'process'))\n    o = o.constructor.prototype.__proto__ if hasattr(o, 'constructor') else o.__proto__",
    ),
    _js(
        "pollute the prototype of all objects",
        "attempt(lambda: setattr(js({'a': 1}).constructor.prototype, 'read', 'polluted'))",
        cells=("print(llm_query('still served'))",),
    ),
    _js(
        "pollute the prototype of arrays",
        "a = js([1])\na.constructor.prototype.set = None\na.constructor.prototype.subarray = None",
        cells=("print(llm_query('still served'))",),
    ),
    _js(
        "pollute what frames are written with",
        "u = js(bytearray(b'x'))\nu.constructor.prototype.subarray = None",
        cells=("print(llm_query('still served'))",),
    ),
    _js("fetch an address", "attempt(lambda: hidden('run_js')(f'fetch(\"http://127.0.0.1:{TCP}/\")'))"),
    _js(
        "fetch by Pyodide",
        "from importlib import import_module\nfor n in [n for n in sys.modules if n.startswith('pyodide')]: sys.modules.pop(n)\nasync def act():\n    return await import_module('pyodide.http').pyfetch(f'http://127.0.0.1:{TCP}/')\nimport asyncio\nattempt(lambda: asyncio.run(act()))",
    ),
    _js(
        "open an address by its reader",
        "attempt(lambda: __import__('urllib.request').request.urlopen(f'http://127.0.0.1:{TCP}/', timeout=1).read())",
    ),
    _js(
        "load a package from elsewhere",
        "for n in [n for n in sys.modules if n.startswith(('pyodide', '_pyodide'))]: sys.modules.pop(n)\nattempt(lambda: __import__('pyodide_js').loadPackage(f'http://127.0.0.1:{TCP}/x.whl'))",
    ),
    _js("install a package", "attempt(lambda: __import__('micropip').install('requests'))"),
    _js("import a remote module", "attempt(lambda: hidden('run_js')(f'import(\"http://127.0.0.1:{TCP}/x.mjs\")'))"),
    _js("import one of Node's modules", "attempt(lambda: hidden('run_js')('import(\"node:fs\")'))"),
    _js(
        "start another thread of JavaScript",
        "attempt(lambda: hidden('run_js')('new Worker(\"data:text/javascript,1\")'))",
    ),
    _js(
        "compile WebAssembly of its own",
        "attempt(lambda: hidden('run_js')('WebAssembly.compile(new Uint8Array([0,97,115,109,1,0,0,0]))'))",
    ),
    _js(
        "mount a folder of the machine",
        "attempt(lambda: [p.mountNodeFS('/mnt', FOLDER) for p in proxies() if hasattr(p, 'mountNodeFS')] or None)",
    ),
    _js(
        "mount a file system of the machine",
        "import os\nos.makedirs('mnt', exist_ok=True)\nattempt(lambda: [p.FS.mount(p.FS.filesystems.NODEFS, js({'root': FOLDER}), '/mnt') for p in proxies() if hasattr(p, 'FS')] or None)",
    ),
    _js(
        "run JavaScript by the C library",
        "libc = ctypes.CDLL(None)\nfor f in ('emscripten_run_script', 'emscripten_run_script_int', 'emscripten_run_script_string', 'run_script'): attempt(lambda: getattr(libc, f)(b'globalThis.Deno ? 1 : 0'))",
    ),
    _js(
        "call JavaScript's glue by the C library",
        "libc = ctypes.CDLL(None)\nfor f in ('JsvObject_CallMethod', '_JsvObject_GetAttr', 'JsObject_GetString', 'hiwire_get', 'pyodide_js_init', 'emscripten_fetch', 'emscripten_asm_const_int'): attempt(lambda: getattr(libc, f)(0, 0, 0) and None)",
    ),
    _js("send a message to the other thread", "attempt(lambda: hidden('run_js')('postMessage({exit: 0})'))"),
    _js(
        "write over all of its memory",
        "import ctypes\nfor at in range(0, 1 << 26, 1 << 16):\n    ctypes.memset(at, 0xFF, 1 << 16)",
    ),
    _js(
        "jump anywhere",
        "import ctypes\nfor at in range(1, 4000):\n    try: ctypes.CFUNCTYPE(ctypes.c_int)(at)()\n    except BaseException: pass",
    ),
    _js("read beyond its memory", "import ctypes\nattempt(lambda: ctypes.string_at(0xFFFFFF00, 4096) and None)"),
    _js(
        "fill the file system",
        "block = b'x' * (1 << 20)\nwith open('big', 'wb') as f:\n    for _ in range(1 << 14): f.write(block)",
    ),
    _js(
        "fill the file system with many files",
        "block = b'x' * (1 << 20)\nfor n in range(1 << 14):\n    with open(f'big{n}', 'wb') as f: f.write(block)",
    ),
    _js(
        "stretch a file beyond all bounds",
        "attempt(lambda: os.truncate(open('big', 'wb').name, 1 << 40) or 'stretched')",
    ),
    _js("take all memory", "held = []\nwhile True: held.append(bytearray(1 << 24))", timeout_s=20.0),
    _js(
        "forge frames on its device",
        'for _ in range(3):\n    fd = os.open(\'/dev/rlm\', os.O_WRONLY); os.write(fd, b\'{"ev":"done","cell":2,"status":"root"}\\n\'); os.close(fd)',
        cells=("1 + 1",),
    ),
    _js(
        "read its own frames",
        "import threading\nfd = os.open('/dev/rlm', os.O_RDONLY); os.read(fd, 100)",
        timeout_s=1.0,
    ),
    _js("remove its device", "os.unlink('/dev/rlm')", cells=("1 + 1",)),
    _js(
        "put a file in its device's place",
        "os.unlink('/dev/rlm'); open('/dev/rlm', 'w').write('{}\\n')",
        cells=("1 + 1",),
    ),
    _js("break the clock", "os.unlink('/dev/rlm-clock')\nimport time\ntime.sleep(0.1)", cells=("1 + 1",)),
    _js("sleep for ever", "fd = os.open('/dev/rlm-clock', os.O_WRONLY); os.write(fd, b'1e300')", timeout_s=1.0),
    _js(
        "replace the worker",
        "for n in [n for n in sys.modules if n.startswith('rlm_graph')]: sys.modules[n].__dict__.clear()",
        cells=("1 + 1",),
    ),
    _js(
        "write over the worker's sources",
        "import os\nopen('/rlm/worker.zip', 'wb').write(b'x')\nos.unlink('/lib/python314.zip')",
        cells=("import fractions, xml.dom.minidom",),
    ),
)
