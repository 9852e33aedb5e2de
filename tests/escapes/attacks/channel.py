"""The channel to the supervisor, the supervisor itself, the context, and other runs."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

ANY = (Outcome.KILLED, Outcome.HARMLESS, Outcome.DENIED)
CHECKED = "what the worker says is checked whether it is confined or not"


def _forged(name: str, code: str, *, cells: tuple[str, ...] = ("print('next')",), timeout_s: float = 3.0) -> Attack:
    return Attack(name, code, stopped=ANY, control=Control.BLUNT, why=CHECKED, cells=cells, timeout_s=timeout_s)


CHANNEL = (
    _forged(
        "say that the cell has ended",
        r"""forge(b'{"ev":"done","cell":2,"status":"ok","value":"forged","error":null,"final":null}\n'); print("still here")""",
    ),
    _forged(
        "say that the cell has ended, and go on for ever",
        r"""forge(b'{"ev":"done","cell":2,"status":"ok","value":"forged","error":null,"final":null}\n')
while True: pass""",
    ),
    _forged(
        "say that the next cell has ended",
        r"""forge(b'{"ev":"done","cell":3,"status":"final","value":null,"error":null,"final":{"value":"forged","exact":true,"via":"FINAL"}}\n')""",
    ),
    _forged(
        "say that every cell has ended",
        r"""
for n in range(-5, 2000): forge(b'{"ev":"done","cell":%d,"status":"ok","value":null,"error":null,"final":null}\n' % n)""",
    ),
    _forged(
        "end with a status that there is not",
        r"""forge(b'{"ev":"done","cell":2,"status":"root","value":null,"error":null,"final":null}\n')""",
    ),
    _forged(
        "end with an outcome of other types",
        r"""forge(b'{"ev":"done","cell":2,"status":"error","value":{"a":[]},"error":[1],"final":{"value":1}}\n')""",
    ),
    _forged(
        "end in an answer that the host cannot store",
        r"""forge(b'{"ev":"done","cell":2,"status":"final","value":null,"error":null,"final":{"value":' + b'[' * 90000 + b']' * 90000 + b',"exact":true,"via":"FINAL"}}\n')""",
    ),
    _forged(
        "end in a number that is none",
        r"""forge(b'{"ev":"done","cell":2,"status":"final","value":null,"error":null,"final":{"value":NaN,"exact":true,"via":"FINAL"}}\n')""",
    ),
    _forged(
        "end in a number of a million digits",
        r"""forge(b'{"ev":"done","cell":2,"status":"final","value":null,"error":null,"final":{"value":' + b'9' * 1000000 + b',"exact":true,"via":"FINAL"}}\n')""",
    ),
    _forged(
        "end in text that is no text",
        r"""forge(b'{"ev":"done","cell":2,"status":"final","value":null,"error":null,"final":{"value":"\\ud800\\u0000","exact":true,"via":"FINAL"}}\n')""",
    ),
    _forged(
        "end with an error of a thousand lines",
        r"""forge(b'{"ev":"done","cell":2,"status":"error","value":null,"error":{"type":"' + b'E' * 10**6 + b'","message":"' + b'm' * 10**6 + b'","line":99999999999999999999,"traceback":"\\u001b[2J"},"final":null}\n')""",
    ),
    _forged(
        "speak no JSON",
        r"""forge(b'{"ev":"done","cell":\n', b'\x00\xff\xfe\n', b'\n', b'null\n', b'[]\n', b'"ev"\n', b'1\n')""",
    ),
    _forged(
        "speak of what there is not",
        r"""forge(b'{"ev":"shutdown"}\n', b'{"op":"close"}\n', b'{"ev":null}\n', b'{}\n')""",
    ),
    _forged(
        "speak as the supervisor",
        r"""forge(b'{"ev":"calls","cell":2,"calls":[]}\n', b'{"ev":"pong","re":1,"version":"x"}\n', b'{"ev":"suspended"}\n')""",
    ),
    _forged("say that it is ready once more", r"""forge(b'{"ev":"ready","report":{"confined":true}}\n')"""),
    _forged(
        "say that it could not start",
        r"""forge(b'{"ev":"failed","message":"the kernel has no Landlock; run with --unsafe-local"}\n')""",
    ),
    _forged(
        "answer what nobody asked",
        r"""
for n in range(1000): forge(b'{"ev":"reply","re":%d,"variables":[{"name":"x","type":"y"}]}\n' % n)""",
    ),
    _forged(
        "keep the same key twice",
        r"""forge(b'{"ev":"done","ev":"ready","cell":1,"cell":2,"status":"ok","status":"final","value":null,"error":null,"final":null}\n')""",
    ),
    _forged(
        "begin a frame and never end it",
        r"""
fd = sockets()[0]
os.write(fd, b'{"ev":"done","cell":2,"value":"')
while True: pass""",
        timeout_s=1.0,
    ),
    _forged(
        "send a frame without end",
        r"""
fd = sockets()[0]; block = b'x' * (1 << 20)
while True: os.write(fd, block)""",
        timeout_s=10.0,
    ),
    _forged(
        "send frames without end",
        r"""
fd = sockets()[0]; block = b'{"ev":"call","id":1,"cell":99,"function":"llm_query","arguments":{},"nth":0}\n' * 10000
while True: os.write(fd, block)""",
        timeout_s=2.0,
    ),
    _forged(
        "call what the host does not offer",
        r"""
for n, f in enumerate(("os.system", "eval", "__import__", "", "read_file", "llm_query\u0000", "../llm_query"), 1):
    forge(('{"ev":"call","id":%d,"cell":2,"function":"%s","arguments":{"command":"id","prompt":"x"},"nth":0,"alone":true}\n' % (n, f)).encode())
import time; time.sleep(0.3)""",
    ),
    _forged(
        "call with arguments of other types",
        r"""
for a in (b'[]', b'null', b'"x"', b'{"prompt":null}', b'{"prompt":{"a":[[[]]]},"model":7}', b'{"prompt":"x","api_key":"y","base_url":"http://127.0.0.1:%d"}' % TCP):
    forge(b'{"ev":"call","id":1,"cell":2,"function":"llm_query","arguments":' + a + b',"nth":0}\n')
import time; time.sleep(0.3)""",
    ),
    _forged(
        "call under an id that was used",
        r"""
llm_query("first")
forge(b'{"ev":"call","id":1,"cell":2,"function":"llm_query","arguments":{"prompt":"second"},"nth":0}\n')
print(llm_query("third"))""",
    ),
    _forged(
        "call under ids that are none",
        r"""
for i in (b'-1', b'1.5', b'true', b'"1"', b'null', b'18446744073709551616', b'[]'):
    forge(b'{"ev":"call","id":' + i + b',"cell":2,"function":"llm_query","arguments":{"prompt":"x"},"nth":0}\n')""",
    ),
    _forged(
        "call in the name of another cell",
        r"""
for cell in (1, 3, 99, -1):
    forge(b'{"ev":"call","id":1,"cell":%d,"function":"llm_query","arguments":{"prompt":"for another"},"nth":0}\n' % cell)""",
    ),
    _forged(
        "call as if it were the first time",
        r"""
for i in range(1, 6): forge(b'{"ev":"call","id":%d,"cell":2,"function":"llm_query","arguments":{"prompt":"same"},"nth":0}\n' % i)
import time; time.sleep(0.3)""",
    ),
    _forged(
        "call after the cell has ended",
        r"""
import threading, time
def late():
    time.sleep(0.2)
    try: print(llm_query("late"))
    except Exception as error: print("REFUSED", error)
    forge(b'{"ev":"call","id":1,"cell":2,"function":"llm_query","arguments":{"prompt":"late"},"nth":0}\n')
threading.Thread(target=late).start()""",
        cells=("import time; time.sleep(0.5)",),
    ),
    _forged(
        "keep the answer of another thread",
        r"""
import threading
got = []
def ask(n): got.append((n, llm_query(f"echo {n}")))
threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
[t.start() for t in threads]; [t.join() for t in threads]
print("NOTHING" if all(str(n) in text for n, text in got) else "BREACH")""",
    ),
    _forged(
        "read what the supervisor sends",
        r"""
import socket
s = socket.socket(fileno=os.dup(sockets()[0])); s.settimeout(1)
try: print(s.recvmsg(65536, 4096))
except OSError as error: print("REFUSED", error)""",
    ),
    _forged("close its end of the channel", "import socket\nfor fd in sockets(): socket.socket(fileno=fd).shutdown(2)"),
    Attack(
        "connect to its supervisor as a host",
        """
import socket
def act():
    s = socket.socket(socket.AF_UNIX)
    os.chdir(os.path.dirname(ADDRESS)); s.connect(os.path.basename(ADDRESS))
    s.sendall(b'{"op":"ping","re":1}\\n'); s.settimeout(2); return s.recv(100)
attempt(act)
""",
    ),
    Attack("remove its supervisor's socket", "attempt(lambda: os.unlink(ADDRESS) or 'gone')"),
    Attack(
        "move its supervisor's folder",
        "d = os.path.dirname(ADDRESS); attempt(lambda: os.rename(d, d + '-moved') or 'moved')",
    ),
    Attack(
        "remove its own scratch folder",
        "d = os.getcwd(); os.chdir('..'); attempt(lambda: os.rmdir(d) or 'gone')",
        cells=("open('x', 'w').write('1')",),
    ),
    Attack("read the folder of another REPL", "attempt(lambda: open(OTHER_SCRATCH + '/note').read())"),
    Attack(
        "write into the folder of another REPL", "attempt(lambda: open(OTHER_SCRATCH + '/note', 'w').write('forged'))"
    ),
    Attack("write into the context's file", "attempt(lambda: open(CONTEXT, 'r+').write('forged'))"),
    Attack("remove the context's file", "attempt(lambda: os.unlink(CONTEXT) or 'gone')"),
    Attack(
        "write into the context through what it holds",
        """
import mmap, gc
for fd in range(64):
    attempt(lambda: os.pwrite(fd, b"forged", 0) if os.fstat(fd).st_size else None)
    attempt(lambda: os.ftruncate(fd, 0) or fd)
    attempt(lambda: os.open(f"/proc/self/fd/{fd}", os.O_WRONLY) if os.fstat(fd).st_size else None)
for o in gc.get_objects():
    if isinstance(o, mmap.mmap):
        attempt(lambda: o.__setitem__(slice(0, 6), b"forged") or "forged")
""",
        stopped=ANY,
        control=Control.BLUNT,
        why="the worker holds no file that it could write to",
    ),
    Attack(
        "write over the context's text in memory",
        "n = len(context); ctypes.memset(id(context) + sys.getsizeof('') - 1, 88, min(n, 1000)); print(context[:10])",
        stopped=ANY,
        control=Control.BLUNT,
        why="it is the worker's own copy",
    ),
    Attack(
        "replace the names it was given",
        "context = contexts = llm_query = FINAL = print = None; globals().clear()",
        stopped=ANY,
        control=Control.BLUNT,
        why="they are the code's own",
        cells=("1 + 1",),
    ),
)
