"""What an attack is: a hostile cell as a value, and the names that its code may use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ALLOWED_FUNCTIONS = ("llm_query", "llm_query_batched", "rlm_query", "rlm_query_batched")


class Outcome(StrEnum):
    """What became of an attack."""

    BREACH = "breach"
    """It read, changed, reached or started something outside its sandbox."""
    DENIED = "denied"
    """It was told no, and the cell went on."""
    KILLED = "contained: killed"
    """The cell ended with its REPL; a fresh one served the next."""
    HARMLESS = "harmless"
    """It was done, and reached nothing but its own sandbox."""
    DECLARED = "declared"
    """It reached what the executor says it cannot hide."""


class Control(StrEnum):
    """What the same cell does where nothing confines it: the proof that the attack is one."""

    BITES = "bites"
    MAY_BITE = "may bite"
    """It depends on this machine: its user, its kernel's settings, its devices."""
    BLUNT = "blunt"
    """Another part than the confinement stops it: the worker is a process of its own, and is supervised."""
    NOT_RUN = "not run"
    """It would hurt this machine."""


@dataclass(frozen=True)
class Attack:
    """A cell that tries to do harm.

    Its code prints `BREACH` with what it got, `REFUSED` with how it failed, and `DECLARED` with what an executor says
    it cannot hide or bound. A breach is believed without it where the targets saw one. It may use the names of
    `prelude`.
    """

    name: str
    code: str
    stopped: tuple[Outcome, ...] = (Outcome.DENIED,)
    """What a hardened executor on one machine may make of it."""
    control: Control = Control.BITES
    why: str = ""
    """Why the control does not bite, or is not run."""
    timeout_s: float = 10.0
    needs: str = ""
    """A machine (`x86_64`) that it is written for."""
    cells: tuple[str, ...] = ()
    """Further cells in the same REPL, for attacks on what comes after."""


PRELUDE = '''
import os, sys, ctypes, errno, platform

def attempt(act):
    """Print what became of one try."""
    try:
        got = act()
    except BaseException as error:
        print("REFUSED", type(error).__name__, error, flush=True)
    else:
        print("BREACH" if got not in (None, False) else "NOTHING", repr(got)[:2000], flush=True)

def sc(name, *arguments):
    """Make a system call by name; OSError if it fails."""
    nr = CALLS[name][0 if platform.machine() == "x86_64" else 1]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    got = libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if got < 0:
        raise OSError(ctypes.get_errno(), name)
    return got

def reaches(name, *arguments):
    """Whether the kernel looked at the call at all, even if it then found fault with it."""
    try:
        return sc(name, *arguments), name
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise
        return name, errno.errorcode[error.errno]

def sockets():
    """The descriptors of this process that are sockets."""
    import stat
    found = []
    for fd in range(256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                found.append(fd)
        except OSError:
            pass
    return found

def keep_channel():
    """Let what takes this process's place keep its channel, so that its end is not noticed at once."""
    for fd in sockets():
        os.set_inheritable(fd, True)

def forge(*lines):
    """Send lines to whoever is at the other end of each socket, as the worker would."""
    for fd in sockets():
        for line in lines:
            while line:
                line = line[os.write(fd, line):]

CALLS = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "capset": (126, 91), "chroot": (161, 51),
    "clone": (56, 220), "clone3": (435, 435), "execveat": (322, 281), "fanotify_init": (300, 262),
    "fchmodat": (268, 53), "fsopen": (430, 430), "init_module": (175, 105), "inotify_add_watch": (254, 27),
    "inotify_init1": (294, 26), "io_uring_setup": (425, 425), "iopl": (172, 0), "kcmp": (312, 272),
    "kexec_load": (246, 104), "keyctl": (250, 219), "landlock_create_ruleset": (444, 444), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "migrate_pages": (256, 238), "modify_ldt": (154, 0), "mount": (165, 40),
    "move_mount": (429, 429), "mq_open": (240, 180), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "openat2": (437, 437), "perf_event_open": (298, 241), "personality": (135, 92),
    "pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pivot_root": (155, 41),
    "prctl": (157, 167), "prlimit64": (302, 261), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60),
    "reboot": (169, 142), "renameat2": (316, 276), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "sched_setscheduler": (144, 119), "seccomp": (317, 277), "semget": (64, 190), "sendmmsg": (307, 269),
    "setns": (308, 268), "setresuid": (117, 147), "settimeofday": (164, 170), "setxattr": (188, 5),
    "shmget": (29, 194), "socket": (41, 198), "splice": (275, 76), "swapon": (167, 224), "syslog": (103, 116),
    "tgkill": (234, 131), "timer_create": (222, 107), "tkill": (200, 130), "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
'''


def prelude(places: dict[str, object]) -> str:
    """The cell that goes before an attack: it names the targets, and some ways to try them."""
    return "".join(f"{name} = {value!r}\n" for name, value in places.items()) + PRELUDE


def breached(output: str) -> list[str]:
    """The lines of an output that claim a breach."""
    return [line[:300] for line in output.splitlines() if line.startswith("BREACH")]


def denied(output: str) -> bool:
    """Whether the code was told no at least once."""
    return any(line.startswith("REFUSED") for line in output.splitlines())


def declared(output: str) -> bool:
    """Whether the code got what the executor says it cannot withhold."""
    return any(line.startswith("DECLARED") for line in output.splitlines())
