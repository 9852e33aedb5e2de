"""Using the machine up: processes, threads, memory, output, disk, descriptors, the host's own time."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

ANY = (Outcome.KILLED, Outcome.HARMLESS, Outcome.DENIED)
HURTS = "it would use this machine up"


def _bomb(
    name: str, code: str, *, timeout_s: float = 4.0, control: Control = Control.NOT_RUN, why: str = HURTS
) -> Attack:
    return Attack(name, code, stopped=ANY, control=control, why=why, timeout_s=timeout_s)


CAPPED = "caps of the supervisor hold with or without confinement"

EXHAUSTION = (
    _bomb("fork without end", "while True: os.fork()"),
    _bomb(
        "fork without end from threads",
        "import threading\ndef f():\n    while True: os.fork()\nfor _ in range(8): threading.Thread(target=f).start()",
    ),
    _bomb("start processes without end", "import subprocess\nwhile True: subprocess.Popen(['/bin/sleep', '60'])"),
    _bomb(
        "start threads without end",
        "import threading\ne = threading.Event()\nwhile True: threading.Thread(target=e.wait).start()",
    ),
    _bomb(
        "start small threads without end",
        "import _thread, time\n_thread.stack_size(32768)\nn = 0\nwhile n < 5000:\n    _thread.start_new_thread(time.sleep, (1000,)); n += 1\nprint('BREACH', n)\ntime.sleep(1)",
    ),
    _bomb("ask for all memory at once", "x = bytearray(1 << 45)"),
    _bomb("ask for memory without end", "x = []\nwhile True: x.append(bytearray(64 << 20))"),
    _bomb("many small objects", "x = []\nwhile True: x.append([0] * 1000)", timeout_s=20),
    _bomb(
        "map memory without end",
        "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 256 << 20); m[::4096] = bytes(len(m) // 4096); x.append(m)",
        timeout_s=20,
    ),
    _bomb(
        "memory in pipes and sockets",
        "import socket\nx = []\nwhile True:\n    a, b = socket.socketpair(); a.setblocking(False); x += [a, b]\n    try:\n        while a.send(bytes(65536)): pass\n    except BlockingIOError: pass",
    ),
    _bomb(
        "memory in files that have no name",
        "x = []\nwhile True:\n    fd = os.memfd_create('x'); x.append(fd); os.write(fd, bytes(64 << 20))",
    ),
    _bomb("print without end", "while True: print('x' * 1000)", timeout_s=1.5, control=Control.BLUNT, why=CAPPED),
    _bomb(
        "write to the output's descriptor",
        "b = bytes(1 << 20)\nwhile True: os.write(1, b); os.write(2, b)",
        timeout_s=1.5,
        control=Control.BLUNT,
        why=CAPPED,
    ),
    _bomb("print one endless line", "print('é' * 60_000_000)", control=Control.BLUNT, why=CAPPED, timeout_s=10),
    _bomb(
        "print what is no text",
        "os.write(1, bytes(range(256)) * 1000); print('\\ud800\\x00\\x1b]0;owned\\x07\\u202e')",
        control=Control.BLUNT,
        why=CAPPED,
    ),
    _bomb("write one huge file", "f = open('big', 'wb')\nwhile True: f.write(bytes(8 << 20))", timeout_s=10),
    _bomb(
        "claim one huge file",
        "attempt(lambda: os.truncate(os.open('big', 66), 1 << 45) or 'big')\nattempt(lambda: os.posix_fallocate(os.open('big2', 66), 0, 1 << 45) or 'big')",
        control=Control.NOT_RUN,
    ),
    _bomb(
        "write many files",
        "n = 0\nwhile n < 3000:\n    open(f'f{n}', 'wb').write(bytes(1000)); n += 1",
        control=Control.BLUNT,
        why="it stays in scratch, which is removed with the REPL",
        timeout_s=10,
    ),
    Attack(
        "fill the disk file by file",
        "for n in range(8): open(f'part{n}', 'wb').write(bytes(24 << 20))\nprint('DECLARED', sum(os.path.getsize(n) for n in os.listdir()))",
        stopped=(Outcome.DECLARED, Outcome.DENIED, Outcome.KILLED),
        why="no right of an unprivileged process bounds a folder",
        control=Control.NOT_RUN,
    ),
    _bomb(
        "open files without end",
        "x = []\nwhile True: x.append(os.open('/dev/null', 0))",
        control=Control.BLUNT,
        why="every user has such a limit",
    ),
    _bomb(
        "folders in folders",
        "for _ in range(1200): os.mkdir('d'); os.chdir('d')",
        control=Control.BLUNT,
        why="it stays in scratch, which is removed with the REPL",
        timeout_s=10,
    ),
    _bomb(
        "names that are hard to remove",
        "for n in ('a\\nb', '-rf', 'x' * 255, '\\udcff', ' ', '...'): open(n, 'w')\nos.mkdir('closed'); open('closed/x', 'w'); os.chmod('closed', 0); os.symlink('/', 'root'); os.symlink('loop', 'loop')",
        control=Control.BLUNT,
        why="it stays in scratch, which is removed with the REPL",
    ),
    _bomb(
        "call the host without end",
        "n = 0\nwhile n < 3000:\n    llm_query(str(n)); n += 1",
        control=Control.BLUNT,
        why=CAPPED,
        timeout_s=10,
    ),
    _bomb(
        "call the host from many threads",
        "from concurrent.futures import ThreadPoolExecutor as T\nwith T(32) as t: print(len(list(t.map(llm_query, map(str, range(1000))))))",
        control=Control.BLUNT,
        why=CAPPED,
        timeout_s=10,
    ),
    _bomb("send the host a huge call", "llm_query('x' * (200 << 20))", control=Control.BLUNT, why=CAPPED, timeout_s=10),
    _bomb(
        "send the host a huge batch",
        "len(llm_query_batched(['x'] * 20_000))",
        control=Control.BLUNT,
        why=CAPPED,
        timeout_s=10,
    ),
    _bomb("answer with too much", "FINAL('x' * (200 << 20))", control=Control.BLUNT, why=CAPPED, timeout_s=10),
    _bomb(
        "answer with a huge integer",
        "sys.set_int_max_str_digits(0); FINAL(1 << 10_000_000)",
        control=Control.BLUNT,
        why=CAPPED,
        timeout_s=10,
    ),
    _bomb(
        "fail with a huge message",
        "raise ValueError('x' * (50 << 20))",
        control=Control.BLUNT,
        why=CAPPED,
        timeout_s=10,
    ),
    _bomb("show a huge value", "'x' * (50 << 20)", control=Control.BLUNT, why=CAPPED, timeout_s=10),
    _bomb(
        "keep a million variables",
        "globals().update({f'v{n}': n for n in range(1_000_000)})",
        control=Control.BLUNT,
        why=CAPPED,
        timeout_s=10,
    ),
    _bomb(
        "burn processors in threads",
        "import threading, hashlib\ndef f():\n    while True: hashlib.sha256(bytes(1 << 24))\nfor _ in range(8): threading.Thread(target=f, daemon=True).start()\nf()",
        timeout_s=1.5,
        control=Control.BLUNT,
        why="time is shared; the cell's limit ends it",
    ),
    _bomb(
        "unpack a bomb",
        "import zlib\nd = zlib.compress(bytes(1 << 28), 9)\nx = [zlib.decompress(d) for _ in range(1000)]",
        timeout_s=20,
    ),
    _bomb(
        "lock a file that others read",
        "import fcntl\nattempt(lambda: fcntl.flock(os.open(SECRET, 0), 2 | 4) or 'locked')",
        control=Control.BITES,
        why="",
    ),
)
