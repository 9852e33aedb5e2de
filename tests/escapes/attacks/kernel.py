"""The kernel: calls with a history of faults, or that change the machine. Each must be refused unread."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

ROOT = "only root may"

KERNEL = (
    Attack(
        "make a user namespace",
        "attempt(lambda: sc('unshare', 0x10000000) + 1)",
        control=Control.MAY_BITE,
        why="not in a process with threads, nor on every system",
    ),
    Attack(
        "make a namespace of mounts",
        "attempt(lambda: sc('unshare', 0x00020000) + 1)",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "mount",
        "attempt(lambda: sc('mount', b'none', FOLDER.encode(), b'tmpfs', 0, 0) + 1)",
        control=Control.NOT_RUN,
        why="as root it would mount",
    ),
    Attack(
        "mount in the new way",
        "attempt(lambda: reaches('fsopen', b'no-such-fs', 0)); attempt(lambda: reaches('move_mount', -1, 0, -1, 0, 0)); attempt(lambda: reaches('open_tree', -1, 0, 0))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "change its root",
        "attempt(lambda: sc('chroot', FOLDER.encode()) + 1); attempt(lambda: reaches('pivot_root', 0, 0))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "io_uring",
        "p = (ctypes.c_char * 120)()\nattempt(lambda: sc('io_uring_setup', 8, p))",
        control=Control.MAY_BITE,
        why="some systems switch it off",
    ),
    Attack(
        "bpf", "attempt(lambda: reaches('bpf', 0, 0, 0))", control=Control.MAY_BITE, why="most systems leave it to root"
    ),
    Attack(
        "userfaultfd",
        "attempt(lambda: sc('userfaultfd', 1)); attempt(lambda: sc('userfaultfd', 0))",
        control=Control.MAY_BITE,
        why="a setting may leave it to root",
    ),
    Attack(
        "perf",
        "attempt(lambda: reaches('perf_event_open', 0, 0, -1, -1, 0))",
        control=Control.MAY_BITE,
        why="a setting may leave it to root",
    ),
    Attack(
        "keys of the kernel",
        "attempt(lambda: reaches('add_key', b'user', b'canary', b'x', 1, -2)); attempt(lambda: sc('keyctl', 0, -3, 1))",
        control=Control.MAY_BITE,
        why="a container may refuse it",
    ),
    Attack(
        "change its personality",
        "attempt(lambda: sc('personality', 0x0040000) + 1)",
        control=Control.MAY_BITE,
        why="a container may refuse it",
    ),
    Attack("put a filter of its own in place", "attempt(lambda: reaches('seccomp', 1, 8, 0))"),
    Attack(
        "put a stricter Landlock in place",
        "attempt(lambda: reaches('landlock_create_ruleset', 0, 0, 1))",
        control=Control.MAY_BITE,
        why="not every kernel has it",
    ),
    Attack(
        "secret memory", "attempt(lambda: reaches('memfd_secret', 0xFF)); attempt(lambda: sc('memfd_create', b'x', 0))"
    ),
    Attack(
        "shared memory of System V",
        "attempt(lambda: sc('shmget', 0, 4096, 0o1600) + 1); attempt(lambda: reaches('semget', 0, -1, 0))",
    ),
    Attack("message queues", "attempt(lambda: reaches('mq_open', b'canary', 0, 0, 0))"),
    Attack("timers that signal threads", "attempt(lambda: reaches('timer_create', 99, 0, 0))"),
    Attack("load a module", "attempt(lambda: reaches('init_module', 0, 0, b''))", control=Control.MAY_BITE, why=ROOT),
    Attack(
        "load another kernel",
        "attempt(lambda: reaches('kexec_load', 0, 17, 0, 0x77))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "restart the machine, with a wrong password",
        "attempt(lambda: reaches('reboot', 0, 0, 0, 0))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "set the clock, to nothing",
        "attempt(lambda: reaches('settimeofday', 1, 0))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "swap to a file that is not there",
        "attempt(lambda: reaches('swapon', b'/no/such/file', 0))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "account to a file that is not there",
        "attempt(lambda: reaches('acct', b'/no/such/file'))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack("quotas", "attempt(lambda: reaches('quotactl', 0x80000100, 0, 0, 0))"),
    Attack(
        "read the kernel's log",
        "attempt(lambda: sc('syslog', 10, 0, 0) + 1)",
        control=Control.MAY_BITE,
        why="a setting may leave it to root",
    ),
    Attack(
        "move pages",
        "attempt(lambda: reaches('migrate_pages', 0, 0, 0, 0))",
        control=Control.MAY_BITE,
        why="not every kernel has it",
    ),
    Attack("pipe pages together", "attempt(lambda: reaches('splice', -1, 0, -1, 0, 1, 0))"),
    Attack(
        "type into the terminal",
        "import fcntl\nfor fd in [*range(3), *sockets()]: attempt(lambda: fcntl.ioctl(fd, 0x5412, b'x'))",
        control=Control.BLUNT,
        why="the worker has no terminal",
    ),
    Attack(
        "ask devices for their own commands",
        "import fcntl\nfor fd in range(3): attempt(lambda: fcntl.ioctl(fd, 0x1261, b''))",
        control=Control.BLUNT,
        why="the worker holds no device but /dev/null",
    ),
    Attack(
        "calls of the x32 table",
        "attempt(lambda: ctypes.CDLL(None).syscall(0x40000000 | 57) >= 0)",
        needs="x86_64",
        stopped=(Outcome.DENIED, Outcome.HARMLESS),
        control=Control.BLUNT,
        why="few kernels have that table",
    ),
    Attack(
        "calls of the 32-bit table",
        """
import mmap
memory = mmap.mmap(-1, 4096, prot=7)
memory.write(bytes([0xB8, 2, 0, 0, 0, 0xCD, 0x80, 0xC3]))  # mov eax, fork; int 0x80; ret
pid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
if pid == 0: os._exit(0)
attempt(lambda: pid > 0)
""",
        needs="x86_64",
        stopped=(Outcome.KILLED,),
        control=Control.MAY_BITE,
        why="some kernels leave that table out",
    ),
    Attack(
        "the processor's tables and ports",
        "attempt(lambda: reaches('modify_ldt', 99, 0, 0)); attempt(lambda: reaches('iopl', 9))",
        needs="x86_64",
        control=Control.MAY_BITE,
        why="some kernels leave them out",
    ),
    Attack(
        "numbers that no call has",
        "libc = ctypes.CDLL(None)\nfor n in (*range(463, 512), 100000, 2**30 - 1): libc.syscall(n, 0, 0, 0, 0, 0, 0)\nprint('REFUSED')",
        control=Control.BLUNT,
        why="there is nothing behind them",
    ),
    Attack(
        "every call that Python has no use for",
        """
got = []
useless = [
    29, 30, 31, 41, 42, 43, 49, 50, 54, 59, 64, 65, 66, 68, 69, 70, 71, 101, 103, 105, 106, 113, 114, 117,
    119, 122, 123, 126, 133, 134, 135, 136, 139, 141, 142, 144, 146, 149, 150, 151, 152, 153, 154, 155, 156,
    159, 160, 161, 162, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 175, 176, 179, 180, 203, 206,
    212, 216, 222, 237, 238, 239, 240, 246, 248, 249, 250, 251, 253, 254, 256, 259, 272, 275, 276, 277,
    278, 279, 282, 283, 288, 289, 294, 298, 299, 300, 301, 303, 304, 305, 306, 307, 308, 310, 311, 312, 313,
    314, 317, 319, 320, 321, 322, 323, 325, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 440, 442,
    443, 444, 445, 446, 447, 448, 449, 450, 451
]
libc = ctypes.CDLL(None, use_errno=True)
for nr in useless:
    ctypes.set_errno(0)
    if libc.syscall(nr, -1, -1, -1, -1, -1, -1) >= 0 or ctypes.get_errno() != errno.EPERM: got.append((nr, ctypes.get_errno()))
attempt(lambda: got or None)
print("REFUSED")
""",
        needs="x86_64",
        control=Control.NOT_RUN,
        why="it would call everything that the kernel has",
    ),
)
