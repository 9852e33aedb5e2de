"""Other processes: starting, signalling, reading, changing them, and winning rights back."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

PROCESSES = (
    Attack("fork", "attempt(lambda: os.fork() or os._exit(0))"),
    Attack("fork by a raw call", "attempt(lambda: sc('clone', 17, 0, 0, 0, 0) or os._exit(0))"),
    Attack(
        "fork by clone3",
        "a = (ctypes.c_uint64 * 11)(); a[4] = 17\nattempt(lambda: sc('clone3', a, 88) or os._exit(0))",
    ),
    Attack(
        "run a program",
        "import subprocess; attempt(lambda: subprocess.run(['/bin/echo', 'hi'], capture_output=True).stdout)",
    ),
    Attack("run a shell", "os.system(f'echo x > {FOLDER}/ran'); print('REFUSED')"),
    Attack(
        "read from a shell",
        "attempt(lambda: os.popen('echo hi').read() or None)",
        stopped=(Outcome.DENIED, Outcome.HARMLESS),
    ),
    Attack("spawn a program", "attempt(lambda: os.posix_spawn('/bin/true', ['true'], {}))"),
    Attack(
        "become another program",
        "keep_channel(); attempt(lambda: os.execv('/bin/sh', ['sh', '-c', f'echo x > {FOLDER}/ran']))",
    ),
    Attack(
        "run a program through the loader",
        "import glob\nkeep_channel()\nfor ld in glob.glob('/lib64/ld-*.so*') + glob.glob('/lib/ld-*.so*'): attempt(lambda: os.execv(ld, [ld, '/bin/sh', '-c', f'echo x > {FOLDER}/ran']))\nprint('REFUSED')",
        control=Control.MAY_BITE,
        why="where the loader lies differs",
    ),
    Attack(
        "run a program from memory",
        """
keep_channel()
def act():
    fd = os.memfd_create("x", 0); os.write(fd, b"#!/bin/sh\\necho x > %s/ran\\n" % FOLDER.encode())
    os.execve(f"/proc/self/fd/{fd}", ["x"], {})
attempt(act)
attempt(lambda: sc("execveat", -100, b"/bin/true", 0, 0, 0))
""",
    ),
    Attack(
        "load a library into another program",
        "keep_channel(); attempt(lambda: os.execve('/bin/sh', ['sh', '-c', f'echo x > {FOLDER}/ran'], {'LD_PRELOAD': '/tmp/x.so'}))",
    ),
    Attack(
        "multiprocessing",
        "import multiprocessing as m\ndef act():\n    p = m.get_context('fork').Process(target=print); p.start(); p.join(); return p.pid\nattempt(act)",
    ),
    Attack(
        "fork on a terminal",
        "import pty; attempt(lambda: pty.fork()[0] or os._exit(0))",
        control=Control.MAY_BITE,
        why="not every machine has terminals",
    ),
    Attack("signal the host", "attempt(lambda: os.kill(HOST, 0) or 'reached')"),
    Attack("signal the fork server", "attempt(lambda: os.kill(FORK_SERVER, 0) or 'reached')"),
    Attack(
        "open the requests to the fork server", "attempt(lambda: os.open(f'/proc/{FORK_SERVER}/fd/0', os.O_WRONLY))"
    ),
    Attack("kill another process", "attempt(lambda: os.kill(VICTIM, 15) or 'killed')"),
    Attack(
        "kill every process",
        "attempt(lambda: os.kill(-1, 9)); attempt(lambda: os.kill(0, 9))",
        control=Control.NOT_RUN,
        why="it would kill this machine's processes",
    ),
    Attack("kill its supervisor", "attempt(lambda: os.kill(os.getppid(), 9) or 'killed')"),
    Attack(
        "stop its supervisor",
        "attempt(lambda: os.kill(os.getppid(), 19) or 'stopped')",
        control=Control.NOT_RUN,
        why="a stopped supervisor would have to be found and woken",
    ),
    Attack(
        "signal by raw calls",
        """
info = (ctypes.c_char * 128)()
ctypes.cast(info, ctypes.POINTER(ctypes.c_int))[2] = -1
attempt(lambda: sc("tkill", VICTIM, 15) or "killed")
attempt(lambda: sc("tgkill", VICTIM, VICTIM, 15) or "killed")
attempt(lambda: sc("rt_sigqueueinfo", VICTIM, 15, info) or "killed")
attempt(lambda: sc("rt_tgsigqueueinfo", VICTIM, VICTIM, 15, info) or "killed")
attempt(lambda: sc("pidfd_send_signal", sc("pidfd_open", VICTIM, 0), 15, 0, 0) or "killed")
""",
    ),
    Attack(
        "have the kernel signal another",
        """
import fcntl, socket
def act():
    a, b = socket.socketpair()
    fcntl.fcntl(a, fcntl.F_SETOWN, VICTIM); fcntl.fcntl(a, 10, 15)
    fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK); b.send(b"x"); return "sent"
attempt(act)
""",
    ),
    Attack(
        "attach to another as a debugger",
        "attempt(lambda: sc('ptrace', 0x4206, VICTIM, 0, 0) + 1)",
        control=Control.MAY_BITE,
        why="Yama keeps it to root or to parents",
    ),
    Attack("let itself be debugged", "attempt(lambda: sc('ptrace', 0, 0, 0, 0) + 1)"),
    Attack(
        "read another's memory",
        """
def address():
    return int(open(f"/proc/{VICTIM}/maps").readline().split("-")[0], 16)
attempt(lambda: open(f"/proc/{VICTIM}/mem", "rb").seek(address()))
class iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
own = ctypes.create_string_buffer(8)
attempt(lambda: reaches("process_vm_readv", VICTIM, ctypes.byref(iovec(ctypes.addressof(own), 8)), 1, ctypes.byref(iovec(0x1000, 8)), 1, 0))
""",
        control=Control.MAY_BITE,
        why="Yama keeps it to root or to parents",
    ),
    Attack(
        "write another's memory",
        "attempt(lambda: reaches('process_vm_writev', VICTIM, 0, 0, 0, 0, 0))",
        control=Control.MAY_BITE,
        why="Yama keeps it to root or to parents",
    ),
    Attack("read another's environment", "attempt(lambda: open(f'/proc/{VICTIM}/environ').read())"),
    Attack("read another's command line", "attempt(lambda: open(f'/proc/{VICTIM}/cmdline').read())"),
    Attack(
        "read its supervisor in /proc",
        "for n in ('mem', 'environ', 'maps', 'cmdline', 'status'): attempt(lambda: open(f'/proc/{os.getppid()}/{n}', 'rb').read(1) or n)",
    ),
    Attack(
        "read the first process in /proc",
        "for n in ('environ', 'cmdline', 'maps'): attempt(lambda: open(f'/proc/1/{n}', 'rb').read(20) or n)",
    ),
    Attack("list processes", "attempt(lambda: os.listdir('/proc'))"),
    Attack(
        "follow another's descriptors",
        "attempt(lambda: os.listdir(f'/proc/{VICTIM}/fd')); attempt(lambda: os.readlink(f'/proc/{VICTIM}/cwd'))",
    ),
    Attack(
        "follow its supervisor's descriptors",
        "for n in range(20): attempt(lambda: os.open(f'/proc/{os.getppid()}/fd/{n}', 0))",
        control=Control.MAY_BITE,
        why="a supervisor that cannot be dumped is closed to other users",
    ),
    Attack(
        "take a descriptor from another",
        "attempt(lambda: sc('pidfd_getfd', sc('pidfd_open', VICTIM, 0), 0, 0))",
        control=Control.MAY_BITE,
        why="Yama keeps it to root or to parents",
    ),
    Attack(
        "limit another process",
        "import resource; attempt(lambda: resource.prlimit(VICTIM, resource.RLIMIT_NOFILE, (5, 5)))",
    ),
    Attack("slow another process down", "attempt(lambda: os.setpriority(os.PRIO_PROCESS, VICTIM, 19) or 'slowed')"),
    Attack("pin another process", "attempt(lambda: os.sched_setaffinity(VICTIM, {0}) or 'pinned')"),
    Attack(
        "compare with another process",
        "attempt(lambda: sc('kcmp', os.getpid(), VICTIM, 1, 0, 0) + 1)",
        control=Control.MAY_BITE,
        why="Yama keeps it to root or to parents",
    ),
    Attack(
        "advise and reap another's memory",
        "attempt(lambda: reaches('process_madvise', 99, 0, 0, 0, 0)); attempt(lambda: reaches('process_mrelease', 99, 0))",
    ),
    Attack(
        "enter another's namespaces",
        "attempt(lambda: sc('setns', sc('pidfd_open', VICTIM, 0), 0x04000000) + 1)",
        control=Control.MAY_BITE,
        why="only root may",
    ),
    Attack(
        "become another user",
        "attempt(lambda: os.setuid(12345) or 'became'); attempt(lambda: sc('setresuid', 0, 0, 0) + 1)",
        control=Control.MAY_BITE,
        why="only root may",
    ),
    Attack(
        "win capabilities back",
        "h = (ctypes.c_uint32 * 2)(0x20080522, 0); s = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)\nattempt(lambda: sc('capset', h, s) + 1)",
        control=Control.MAY_BITE,
        why="only root has any",
    ),
    Attack(
        "raise its own limits",
        "import resource\nfor n in ('AS', 'FSIZE', 'NOFILE', 'CORE'): attempt(lambda: resource.setrlimit(getattr(resource, 'RLIMIT_' + n), (-1, -1)) or n)",
        control=Control.MAY_BITE,
        why="only root may",
    ),
    Attack("outlive its supervisor", "attempt(lambda: sc('prctl', 1, 0, 0, 0, 0) + 1)"),
    Attack("let itself be dumped", "attempt(lambda: sc('prctl', 4, 1, 0, 0, 0) + 1)"),
    Attack(
        "save itself from the kernel's killer",
        "attempt(lambda: open('/proc/self/oom_score_adj', 'w').write('-1000'))",
        control=Control.MAY_BITE,
        why="only root may",
    ),
    Attack(
        "leave its control group",
        "attempt(lambda: open('/sys/fs/cgroup/cgroup.procs', 'w').write(str(os.getpid())))",
        control=Control.MAY_BITE,
        why="not every machine lets groups be written",
    ),
    Attack(
        "leave its session",
        "attempt(lambda: os.setsid())",
        control=Control.MAY_BITE,
        why="a leader of its session already cannot",
    ),
    Attack(
        "take the processor for itself",
        "p = (ctypes.c_int * 1)(50)\nattempt(lambda: sc('sched_setscheduler', 0, 1, p) + 1)",
        control=Control.MAY_BITE,
        why="only root may",
    ),
)
