"""Confinement: a process gives up its own rights before it runs a line of a model's code. No root, no dependencies.

What holds afterwards, for good, for this process and whatever it starts:

- files: only the paths given can be read, only the scratch folder written; programs cannot be started from there;
- network: no socket of any family can be made, named or connected; those already held still work;
- processes: none can be started (unless asked for), signalled, traced or read, and no right be won back;
- memory, sizes of files, open files and threads are bounded, and no core file is left.

What it cannot hide: whether a file outside exists, its size, times, owner and mode, and where a symbolic link points
(Landlock has no right for these, and a filter cannot read the path). It shares the processor with everyone, and it
trusts the kernel. A parent under the same user must see to its own descriptors: what is inherited stays open.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from typing import Any

from rlm_graph.executors.sandbox.confinement import landlock, seccomp
from rlm_graph.executors.sandbox.confinement.syscalls import AUDIT_ARCH, call, machine, prctl, unshare

DEVICES_READ = ("/dev/urandom", "/dev/random", "/dev/zero")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
DATA = (
    "/etc/localtime", "/usr/share/zoneinfo", "/usr/share/locale", "/sys/devices/system/cpu/online",
    # The standard library opens these if it sees them, and does not expect to be refused.
    "/etc/mime.types", "/etc/httpd/conf/mime.types", "/etc/apache2/mime.types", "/etc/nginx/mime.types",
    "/etc/ssl/openssl.cnf", "/usr/lib/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies",
)  # fmt: skip
"""Public data that Python's own modules read."""

_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 24, 38
_PR_GET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 39, 47, 4
_CAPABILITIES_V3, _CAP_SETPCAP = 0x20080522, 8
_CLONE_NEWUSER = 0x10000000
_M_ARENA_MAX = -8
_PT_INTERP = 3


def probe() -> dict[str, Any]:
    """What this kernel offers: `landlock_abi`, `seccomp`, `no_new_privs`, `arch`, and `missing` in plain English.

    Nothing is applied. `missing` is empty where `confine` can keep its promises.
    """
    linux = sys.platform.startswith("linux")
    arch = machine() if linux else sys.platform
    found: dict[str, Any] = {"landlock_abi": 0, "seccomp": False, "no_new_privs": False, "arch": arch}
    missing: list[str] = []
    if not linux:
        missing.append(f"Linux: this is {sys.platform}")
    elif arch not in AUDIT_ARCH:
        missing.append(f"a machine whose system calls are known ({' or '.join(AUDIT_ARCH)}): this is {arch}")
    else:
        found.update(landlock_abi=landlock.abi(), seccomp=seccomp.available(), no_new_privs=_has_no_new_privs())
        if not found["landlock_abi"]:
            missing.append("Landlock: Linux 5.13 or later with `landlock` in the kernel's list of security modules")
        if not found["seccomp"]:
            missing.append("seccomp filters: CONFIG_SECCOMP_FILTER in the kernel, and a container that allows them")
        if not found["no_new_privs"]:
            missing.append("no_new_privs: Linux 3.5 or later")
    found["missing"] = missing
    return found


def confine(
    *,
    scratch: str,
    read: Sequence[str],
    memory_bytes: int | None,
    max_file_bytes: int,
    max_threads: int,
    max_open_files: int = 128,
    allow_subprocess: bool = False,
    allow_network: bool = False,
    in_container: bool = False,
    program: str | None = None,
) -> dict[str, Any]:
    """Give up this process's rights for good, and say what was applied.

    `scratch` is the one folder it may change; `read` are files and folders it may read besides Python's own.
    `memory_bytes` bounds the address space, of each process where `allow_subprocess`; programs can then be started
    from `read` and from the system's and Python's folders.

    In the report, `threads` tells who holds `max_threads`: `"own"`, a count of this process alone; `"user"`, a count
    that it shares with its user's other processes; `"container"`, which has a limit of its own; None for root, whom the
    kernel exempts: a parent must then watch.

    `in_container`: this process has a user and a container of its own, which hold it too. What the kernel lacks is then
    done without, the container bounds the threads, and processes of this user may be signalled: they are its own.

    `program`: this process is about to become that program, the only one that it may then start; it reads what is in
    `read` and the system's shared objects, and writes nowhere, in `scratch` neither.

    Must be called before any thread is started. Raises `RuntimeError` where a layer is missing, `OSError` where the
    kernel refuses one; the process is then half confined and must end.
    """
    offered = probe()
    if offered["missing"] and not in_container:
        raise RuntimeError("cannot confine this process; missing: " + "; ".join(offered["missing"]))
    if _thread_count() > 1:
        raise RuntimeError("cannot confine a process that has started threads; call confine() before them")

    import resource  # not on Windows, where `probe` must still answer

    # A process that cannot be dumped, as the child of a careful parent is, may not write to its own files in /proc.
    prctl(_PR_SET_DUMPABLE, 1)
    # Everything that needs a right or opens a file in /proc comes before the rights go.
    if program is None:
        rules = [*_reading(read, allow_subprocess), (scratch, landlock.SCRATCH)]
    else:
        rules, allow_subprocess = _running(program, read), True
    _die_first()
    threads = "container" if in_container else _limit_threads(max_threads)
    limits = {
        "core_bytes": (resource.RLIMIT_CORE, 0),
        "file_bytes": (resource.RLIMIT_FSIZE, max_file_bytes),
        "locked_bytes": (resource.RLIMIT_MEMLOCK, 0),
        "open_files": (resource.RLIMIT_NOFILE, max_open_files),
    }
    if memory_bytes is not None:
        _share_heaps()
        limits["memory_bytes"] = (resource.RLIMIT_AS, memory_bytes)
    applied = {name: _lower(which, value) for name, (which, value) in limits.items()}
    dropped = _drop_capabilities() if offered["arch"] in AUDIT_ARCH else []
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # Also keeps a crash from handing the context to the system's collector of core files, which ignores RLIMIT_CORE.
    prctl(_PR_SET_DUMPABLE, 0)
    abi = offered["landlock_abi"]
    denied = landlock.restrict(rules, allow_network=allow_network) if abi else []
    if offered["seccomp"]:
        seccomp.install(
            seccomp.program(
                offered["arch"],
                pid=os.getpid(),
                truncation_is_guarded=abi >= 3,
                allow_subprocess=allow_subprocess,
                allow_network=allow_network,
                signals_are_scoped=abi >= 6 or in_container,
            )
        )
    return {
        "landlock_abi": abi, "landlock": denied, "seccomp": offered["seccomp"], "no_new_privs": True, "dumpable": False,
        "capabilities": dropped, "threads": threads, "limits": applied, "subprocess": allow_subprocess,
    }  # fmt: skip


def python_paths() -> list[str]:
    """The files and folders that hold this interpreter's library and shared objects, without duplicates."""
    found = [os.path.dirname(os.__file__)]
    prefixes = tuple(os.path.join(prefix, "") for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix})
    # A folder or archive on the path that is not the interpreter's may be the user's: the caller must name it.
    found += [entry for entry in sys.path if entry.startswith(prefixes)]
    found += [os.path.join(sys.base_prefix, name) for name in ("lib", sys.platlibdir)]
    found += [*LIBRARIES]
    found += [os.path.join(prefix, "pyvenv.cfg") for prefix in prefixes]
    archive = getattr(globals().get("__loader__"), "archive", None)
    if archive:
        found.append(archive)
    return [path for path in dict.fromkeys(found) if os.path.exists(path)]


def _reading(read: Sequence[str], allow_subprocess: bool) -> list[tuple[str, int]]:
    rights = landlock.READ | (landlock.EXECUTE if allow_subprocess else 0)
    rules = [(path, rights) for path in (*read, *python_paths())]
    rules += [(path, landlock.READ) for path in (*DATA, *DEVICES_READ) if os.path.exists(path)]
    return [*rules, ("/dev/null", landlock.READ | landlock.WRITE_FILE)]


def _running(program: str, read: Sequence[str]) -> list[tuple[str, int]]:
    rules = [(path, landlock.READ | landlock.EXECUTE) for path in (program, _interpreter(program)) if path]
    rules += [(path, landlock.READ) for path in (*read, *LIBRARIES, *DEVICES_READ) if os.path.exists(path)]
    return [*rules, ("/dev/null", landlock.READ | landlock.WRITE_FILE)]


def _interpreter(program: str) -> str:
    """The dynamic loader that an ELF program names, which the kernel starts with it; empty if it names none."""
    with open(program, "rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            return ""
        offset, size, count = struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
        for index in range(count):
            file.seek(offset + index * size)
            kind, _, start, _, _, length, _, _ = struct.unpack("<IIQQQQQQ", file.read(56))
            if kind == _PT_INTERP:
                file.seek(start)
                return os.path.realpath(file.read(length).rstrip(b"\0").decode())
    return ""


def _thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return len(sys._current_frames())


def _has_no_new_privs() -> bool:
    try:
        return prctl(_PR_GET_NO_NEW_PRIVS) >= 0
    except OSError:
        return False


def _lower(which: int, value: int) -> int:
    """Set both limits to `value`, or to the hard limit that holds already if it is lower."""
    import resource

    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
    return value


def _die_first() -> None:
    """If the machine runs out of memory, let the kernel end this process before any other."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:  # no /proc, or one that cannot be written: a courtesy to others, not a layer
        pass


def _share_heaps() -> None:
    """Let threads share two heaps: the C library would reserve 64 MB of the bounded address space for each thread."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries than GNU's reserve nothing
    if mallopt is not None:
        mallopt(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(2))


def _limit_threads(max_threads: int) -> str | None:
    """Bound the threads. Root of the machine is exempt in the kernel, and so not bounded (None)."""
    import resource

    if os.getuid() == 0 and _is_initial_user_namespace():
        return None
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if release >= (5, 14) and _own_user_namespace():
        # A namespace has its own count, which begins with this process. Before 5.14 the count was the user's.
        _lower(resource.RLIMIT_NPROC, max_threads)
        return "own"
    _lower(resource.RLIMIT_NPROC, _tasks_of_user() + max_threads + _SLACK)
    return "user"


_SLACK = 1024
"""Threads that the user's other processes may start meanwhile before they are counted against this one."""


def _is_initial_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map") as file:
            return file.read().split() == ["0", "0", "4294967295"]
    except OSError:
        return True


def _own_user_namespace() -> bool:
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(_CLONE_NEWUSER)
    except OSError:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError:  # some systems allow the namespace and not the map: files then show another owner, no more
            break
    return True


def _tasks_of_user() -> int:
    uid, count = os.getuid(), 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.stat(f"/proc/{entry}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{entry}/task"))
            except OSError:  # it ended meanwhile
                continue
    return count


def _drop_capabilities() -> list[str]:
    """Empty every set of capabilities, the bounding set too if that is allowed; return the names of those emptied."""
    done = []
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_V3, 0), 8)
    sets = ctypes.create_string_buffer(24)
    call("capget", header, sets)
    if struct.unpack("=6I", sets.raw)[0] >> _CAP_SETPCAP & 1:
        for capability in range(64):
            try:
                prctl(_PR_CAPBSET_DROP, capability)
            except OSError:  # past the last one that the kernel knows
                break
        done.append("bounding")
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    call("capset", header, ctypes.create_string_buffer(24))
    return [*done, "ambient", "effective", "permitted", "inheritable"]
