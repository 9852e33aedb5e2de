"""Seccomp: the list of system calls that this process may still make, given up for good by the process itself.

It is an allow-list: what CPython, its standard library, threads, asyncio, SQLite and numerical libraries need on one
machine without network and without other processes. Source: the kernel's
`Documentation/userspace-api/seccomp_filter.rst`; flags are those of the kernel's `include/uapi/`.

Memory that is both writable and executable is not refused: code that runs as native instructions meets the same
filter, so it can do no more than Python can.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rlm_graph.executors.sandbox.confinement.syscalls import AUDIT_ARCH, call, number, prctl

FREE = (
    # Files: which ones is for Landlock to say.
    "access", "chdir", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3", "faccessat",
    "faccessat2", "fadvise64", "fallocate", "fchdir", "fdatasync", "flock", "fstat", "fstatfs", "fsync",
    "ftruncate", "getcwd", "getdents", "getdents64", "link", "linkat", "lseek", "lstat", "mkdir", "mkdirat",
    "newfstatat", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read",
    "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile", "stat", "statfs",
    "statx", "symlink", "symlinkat", "umask", "unlink", "unlinkat", "write", "writev",
    # Memory and threads.
    "arch_prctl", "brk", "exit", "exit_group", "futex", "getcpu", "madvise", "membarrier", "mmap", "mprotect",
    "msync", "munmap", "restart_syscall", "rseq", "sched_getaffinity", "sched_getparam",
    "sched_getscheduler", "sched_yield", "set_robust_list", "set_tid_address",
    # Signals to itself, clocks, waiting.
    "alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "epoll_create1", "epoll_ctl", "epoll_pwait",
    "epoll_pwait2", "epoll_wait", "eventfd2", "getitimer", "gettimeofday", "nanosleep", "pause", "poll", "ppoll",
    "pselect6", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "select", "setitimer", "sigaltstack", "time", "times", "wait4", "waitid",
    # What it is, and chance.
    "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getrandom",
    "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "gettid", "getuid", "sysinfo", "uname",
    # Sockets it already holds. A stream socket that is connected takes no address, so none of these can reach another.
    "getpeername", "getsockname", "recvfrom", "recvmsg", "sendmsg", "shutdown",
)  # fmt: skip
"""Allowed with any arguments."""

WITHOUT_EFFECT = ("chmod", "fchmod", "fchmodat", "fchmodat2")
"""Succeed and change nothing. Landlock does not cover them, so they would reach files outside; refusing them would
break `shutil.copy` and its like in the scratch folder, where modes do not matter. For times see `_limit_arguments`."""

NO_XATTRS = (
    "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "lgetxattr", "listxattr", "llistxattr",
    "lremovexattr", "lsetxattr", "removexattr", "setxattr",
)  # fmt: skip
"""Answered as on a file system without extended attributes, which `shutil` expects. Landlock does not cover them."""

SUBPROCESS = ("execve", "fork", "setpgid", "setsid", "vfork")
"""Allowed besides where the process may start others."""

NETWORK = (
    "accept", "accept4", "bind", "connect", "getsockopt", "listen", "recvmmsg", "sendmmsg", "sendto", "setsockopt",
)  # fmt: skip
"""Allowed besides where the process may use the network, with sockets of `FAMILIES`."""
FAMILIES = (1, 2, 10, 16)
"""Unix, IPv4, IPv6, and netlink, with which the C library asks for the addresses that there are."""

SIGNALS = ("kill", "tgkill", "tkill")
"""Allowed to itself; to others only where Landlock keeps them to its own children."""

NEWEST = 452
"""A call with a higher number is one that this list has not judged: it is answered as an old kernel would, with
`ENOSYS`, so that the C library falls back to one that was."""

CLONE_THREAD = 0x00010000
CLONE_NAMESPACES = 0x7E020080
"""`CLONE_NEW*`: mount, cgroup, UTS, IPC, user, PID and network, and time."""
AF_UNIX, SOCK_STREAM, SOCK_FLAGS = 1, 1, 0o2004000
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
"""Duplicate, get and set flags, locks of three kinds, read a pipe's size. Not `F_SETOWN` and `F_SETSIG`, which send any
signal to any process, and not `F_SETPIPE_SZ`, which takes kernel memory."""
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A)
"""`TCGETS`, `TIOCGWINSZ`, `FIONREAD`, `FIONBIO`, `FIONCLEX`, `FIOCLEX`, `TCGETS2`. Not `TIOCSTI`."""
PRCTL = (3, 15, 16, 21, 39, 0x53564D41)
"""Get dumpable, set and get the thread's name, get seccomp, get no_new_privs, name memory (the C library does)."""
SOCKET_OPTIONS = (3, 4, 7, 8, 30, 38, 39)
"""Type, error, buffer sizes, listening, protocol, domain. Not the peer's process as a descriptor."""

LEAST_MOVED = 0x40
"""The high half of the lowest address from which on memory may be moved and enlarged. Below lie pieces of files, whose
maps would show more of them if they grew: see `GUARDED_END` of the worker's `mapped`."""

_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _AND, _EQUAL, _GREATER, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x06
_NR, _ARCH, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_PR_SET_SECCOMP, _MODE_FILTER, _GET_ACTION_AVAIL = 22, 2, 2


@dataclass(frozen=True)
class Among:
    """Holds if the low 32 bits of an argument, after `mask`, are one of `values`.

    The kernel itself reads these arguments as 32 bits: looking at more would refuse what it takes.
    """

    argument: int
    values: Sequence[int]
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True)
class Null:
    """Holds if all 64 bits of an argument are zero: a pointer that is not given."""

    argument: int


@dataclass(frozen=True)
class Given:
    """Holds if any bit of an argument is set: a pointer that is given."""

    argument: int


@dataclass(frozen=True)
class HighAtLeast:
    """Holds if the high 32 bits of an argument, which is an address, are at least that."""

    argument: int
    value: int


@dataclass
class Program:
    """A classic BPF program under construction, for one kind of machine."""

    arch: str
    code: list[bytes] = field(default_factory=list)

    def emit(self, operation: int, operand: int, if_true: int = 0, if_false: int = 0) -> None:
        """Append one instruction; jumps skip that many of those after it."""
        self.code.append(struct.pack("=HBBI", operation, if_true, if_false, operand))

    def answer(self, names: Iterable[str], action: int) -> None:
        """Answer these calls with `action`, whatever their arguments."""
        for nr in sorted({nr for name in names if (nr := number(name, self.arch)) is not None}):
            self.emit(_EQUAL, nr, 0, 1)
            self.emit(_RETURN, action)

    def answer_if(self, name: str, *tests: Among | Null | Given | HighAtLeast, action: int = _ALLOW) -> None:
        """Answer the call with `action`, which allows it unless told otherwise, if all tests hold; else refuse it."""
        nr = number(name, self.arch)
        if nr is None:
            return
        body = Program(self.arch)
        for test in tests:
            body.require(test)
        body.emit(_RETURN, action)
        self.emit(_EQUAL, nr, 0, len(body.code))
        self.code += body.code

    def require(self, test: Among | Null | Given | HighAtLeast) -> None:
        """Refuse the call here unless the test holds. Both machines are little-endian: the low half comes first."""
        low = _ARGUMENTS + 8 * test.argument
        if isinstance(test, Null):
            self.emit(_LOAD, low)
            self.emit(_EQUAL, 0, 1, 0)
            self.emit(_RETURN, _ERRNO | errno.EPERM)
            self.emit(_LOAD, low + 4)
            self.emit(_EQUAL, 0, 1, 0)
        elif isinstance(test, Given):
            self.emit(_LOAD, low)
            self.emit(_EQUAL, 0, 0, 3)
            self.emit(_LOAD, low + 4)
            self.emit(_EQUAL, 0, 0, 1)
        elif isinstance(test, HighAtLeast):
            self.emit(_LOAD, low + 4)
            self.emit(_AT_LEAST, test.value, 1, 0)
        else:
            self.emit(_LOAD, low)
            self.emit(_AND, test.mask)
            for position, value in enumerate(test.values):
                self.emit(_EQUAL, value & 0xFFFFFFFF, len(test.values) - position, 0)
        self.emit(_RETURN, _ERRNO | errno.EPERM)


def program(
    arch: str,
    *,
    pid: int,
    truncation_is_guarded: bool,
    signals_are_scoped: bool,
    allow_subprocess: bool = False,
    allow_network: bool = False,
) -> bytes:
    """Compile the filter for process `pid`.

    A call for another kind of machine kills the process: its numbers would mean other calls. `truncation_is_guarded`
    and `signals_are_scoped` say what Landlock takes care of.
    """
    p = Program(arch)
    p.emit(_LOAD, _ARCH)
    p.emit(_EQUAL, AUDIT_ARCH[arch], 1, 0)
    p.emit(_RETURN, _KILL_PROCESS)
    p.emit(_LOAD, _NR)
    p.emit(_AT_LEAST, _X32, 0, 1)
    p.emit(_RETURN, _ERRNO | errno.EPERM)
    p.emit(_GREATER, NEWEST, 0, 1)
    p.emit(_RETURN, _ERRNO | errno.ENOSYS)

    p.answer(FREE, _ALLOW)
    p.answer(WITHOUT_EFFECT, _ERRNO | 0)
    p.answer(NO_XATTRS, _ERRNO | errno.EOPNOTSUPP)
    # The C library tries these first and falls back to the older call, whose arguments can be read here.
    p.answer(("clone3", "openat2"), _ERRNO | errno.ENOSYS)
    if truncation_is_guarded:
        p.answer(("truncate",), _ALLOW)
    if allow_subprocess:
        p.answer(SUBPROCESS, _ALLOW)
        p.answer_if("clone", Among(0, (0,), mask=CLONE_NAMESPACES))
    else:
        p.answer_if("clone", Among(0, (CLONE_THREAD,), mask=CLONE_THREAD | CLONE_NAMESPACES))
    if allow_subprocess and signals_are_scoped:
        p.answer(SIGNALS, _ALLOW)
    else:
        for name in SIGNALS:
            p.answer_if(name, Among(0, (pid,)))
    if allow_network:
        p.answer(NETWORK, _ALLOW)
        p.answer_if("socket", Among(0, FAMILIES))
    _limit_arguments(p, pid)
    p.emit(_RETURN, _ERRNO | errno.EPERM)
    return b"".join(p.code)


def _limit_arguments(p: Program, pid: int) -> None:
    # Truncating needs a descriptor that may write, whose opening Landlock sees; asked for with reading alone, older
    # Landlocks do not.
    truncating = (os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC)
    allowed = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, *truncating)
    p.answer_if("open", Among(1, allowed, mask=os.O_ACCMODE | os.O_TRUNC))
    p.answer_if("openat", Among(2, allowed, mask=os.O_ACCMODE | os.O_TRUNC))
    p.answer_if("fcntl", Among(1, FCNTL))
    p.answer_if("mremap", HighAtLeast(0, LEAST_MOVED))
    p.answer_if("ioctl", Among(1, IOCTL))
    p.answer_if("prctl", Among(0, PRCTL))
    p.answer_if("prlimit64", Among(0, (0, pid)), Null(2))
    p.answer_if("getsockopt", Among(1, (1,)), Among(2, SOCKET_OPTIONS))
    # A datagram socket could still be sent to any socket in the file system, which Landlock does not deny.
    p.answer_if("socketpair", Among(0, (AF_UNIX,)), Among(1, (SOCK_STREAM,), mask=0xFFFFFFFF & ~SOCK_FLAGS))
    p.answer_if("sendto", Null(4))
    # Landlock does not cover times either. `shutil.copystat` sets given ones and expects no refusal; `Path.touch` asks
    # for the present and creates the file if that is refused.
    p.answer_if("utimensat", Given(2), action=_ERRNO | 0)


def available() -> bool:
    """Whether this kernel takes filters that refuse calls and that kill."""
    try:
        for action in (_ERRNO, _KILL_PROCESS):
            wanted = struct.pack("=I", action)
            call("seccomp", _GET_ACTION_AVAIL, 0, ctypes.create_string_buffer(wanted, len(wanted)))
    except OSError:
        return False
    return True


def install(code: bytes) -> None:
    """Put this thread, and what it starts, under the filter. Needs `no_new_privs`; `OSError` if the kernel refuses."""
    instructions = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    passed = ctypes.create_string_buffer(header, len(header))
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(passed))
