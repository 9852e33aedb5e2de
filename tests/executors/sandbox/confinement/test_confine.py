"""Confinement, layer by layer: each test confines a child of its own and sees what the child can still do."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.executors.sandbox.confinement import confine as confining
from rlm_graph.executors.sandbox.confinement import seccomp, syscalls

MIB = 1 << 20
offered = confining.probe()
needs_kernel = pytest.mark.skipif(bool(offered["missing"]), reason=f"this kernel cannot confine: {offered['missing']}")

CHILD = """
import json, os, sys, traceback, resource, socket, signal, threading, array
task = json.load(sys.stdin)
sys.path.insert(0, task["bundle"])
from rlm_graph.executors.sandbox.confinement.confine import confine
told = {}
if task["user"] is not None and os.getuid() == 0:
    os.setgroups([]); os.setgid(task["user"]); os.setuid(task["user"])
space = {"told": told, **task["names"]}
try:
    exec(task["before"], space)
    told["report"] = confine(**task["settings"])
    exec(task["code"], space)
    told.setdefault("r", space.get("r"))
except BaseException as error:
    told["error"] = type(error).__name__
    told["message"] = str(error)
    told["errno"] = getattr(error, "errno", None)
print("\\n" + json.dumps(told, default=repr), flush=True)
os._exit(0)
"""


@dataclass(frozen=True)
class Told:
    """What a confined child reported: what it left in `r`, or how it failed."""

    r: Any
    error: str | None
    message: str
    report: dict[str, Any]
    status: int


Confined = Callable[..., Told]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The confinement as it is shipped: in an archive, with nothing else of the package."""
    folder = Path(confining.__file__).parent
    path = tmp_path_factory.mktemp("bundle") / "worker.zip"
    with zipfile.ZipFile(path, "w") as archive:
        within = "rlm_graph/executors/sandbox/confinement"
        for package in ("rlm_graph", "rlm_graph/executors", "rlm_graph/executors/sandbox", within):
            archive.writestr(f"{package}/__init__.py", "")
        for name in ("confine", "landlock", "seccomp", "syscalls"):
            archive.write(folder / f"{name}.py", f"{within}/{name}.py")
    return path


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o777)
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("a key")
    path.chmod(0o666)
    return path


@pytest.fixture
def confined(bundle: Path, scratch: Path, secret: Path) -> Confined:
    """Run code in a fresh process that has confined itself; `scratch` and `secret` are names in it."""

    def run(
        code: str, *, before: str = "", user: int | None = None, pass_fds: tuple[int, ...] = (), **settings: Any
    ) -> Told:
        chosen = {
            "scratch": str(scratch), "read": [], "memory_bytes": 1 << 30, "max_file_bytes": 16 * MIB, "max_threads": 16,
        } | settings  # fmt: skip
        names = {"scratch": str(scratch), "secret": str(secret)}
        task = {"bundle": str(bundle), "settings": chosen, "code": code, "before": before, "user": user, "names": names}
        child = subprocess.run(
            [sys.executable, "-I", "-c", CHILD],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            env={"TMPDIR": str(scratch), "LANG": "C.UTF-8"},
            cwd=scratch,
            pass_fds=pass_fds,
            timeout=60,
        )
        lines = child.stdout.splitlines()
        told = json.loads(lines[-1]) if lines else {}
        return Told(
            told.get("r"), told.get("error"), told.get("message", child.stderr), told.get("report", {}),
            child.returncode,
        )  # fmt: skip

    return run


def test_a_probe_changes_nothing_and_says_what_is_missing_in_words() -> None:
    before = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""

    found = confining.probe()

    assert set(found) == {"landlock_abi", "seccomp", "no_new_privs", "arch", "missing"}
    assert all(isinstance(text, str) and len(text.split()) > 1 for text in found["missing"])
    wanted = ("NoNewPrivs", "Seccomp:", "Cap")
    if before:
        after = Path("/proc/self/status").read_text()
        assert [line for line in before.splitlines() if line.startswith(wanted)] == [
            line for line in after.splitlines() if line.startswith(wanted)
        ]


@needs_kernel
class TestFiles:
    """Landlock."""

    @pytest.mark.parametrize(
        "code",
        [
            "open(secret).read()",
            "open(secret, 'a')",
            "import os; os.listdir(os.path.dirname(secret))",
            "import os; os.unlink(secret)",
            "import os; os.rename(secret, scratch + '/mine')",
            "import os; os.link(secret, scratch + '/mine')",
            "import os; os.symlink(secret, scratch + '/s'); open(scratch + '/s').read()",
            "import os; os.truncate(secret, 0)",
            "import os; os.open(secret, os.O_RDONLY | os.O_TRUNC)",
            "import os; os.open(secret, os.O_ACCMODE)",
            "import os; os.mkdir(os.path.dirname(secret) + '/new')",
            "import os; os.chown(secret, 1, 1)",
            "import os; os.removexattr(secret, 'user.x')",
            "open('/proc/self/environ').read()",
            "import os; open(f'/proc/{os.getppid()}/mem', 'rb')",
            "import os; os.readlink(f'/proc/{os.getppid()}/cwd')",
            "import os; os.mkfifo(scratch + '/pipe')",
            "import os; os.mknod(scratch + '/device', 0o20666, os.makedev(1, 3))",
        ],
    )
    def test_a_file_outside_is_out_of_reach(self, confined: Confined, secret: Path, code: str) -> None:
        told = confined(code)

        assert told.error in ("PermissionError", "OSError"), told
        assert secret.read_text() == "a key"
        assert sorted(p.name for p in secret.parent.iterdir()) == ["scratch", "secret.txt"]

    def test_modes_and_times_outside_do_not_change_though_the_call_succeeds(
        self, confined: Confined, secret: Path
    ) -> None:
        before = secret.stat()

        told = confined("import os; os.chmod(secret, 0); os.utime(secret, (1, 1)); r = 'done'")

        assert told.r == "done"
        after = secret.stat()
        assert (after.st_mode, after.st_mtime, after.st_ctime) == (before.st_mode, before.st_mtime, before.st_ctime)

    def test_the_scratch_folder_serves_as_any_folder_does(self, confined: Confined) -> None:
        told = confined("""if True:
            import os, shutil, tempfile, sqlite3, zipfile
            with tempfile.TemporaryDirectory() as folder:
                a = os.path.join(folder, "a")
                open(a, "w").write("text"); os.rename(a, a + "2"); os.symlink(a + "2", a)
                shutil.copy2(a, folder + "/b"); shutil.copytree(folder, scratch + "/tree")
                os.truncate(folder + "/b", 2)
                with zipfile.ZipFile(scratch + "/z.zip", "w") as z: z.write(a)
            db = sqlite3.connect(scratch + "/d.sqlite")
            db.execute("pragma journal_mode=wal"); db.execute("create table t (a)")
            db.executemany("insert into t values (?)", ((str(i) * 40,) for i in range(60_000))); db.commit()
            rows = db.execute("select a from t order by a desc").fetchall(); db.close()
            r = [open(scratch + "/tree/b").read(), len(rows), os.path.exists(folder)]
        """)

        assert told.r == ["text", 60_000, False], told.message

    def test_what_is_given_to_read_can_be_read_and_not_changed(
        self, confined: Confined, secret: Path, tmp_path: Path
    ) -> None:
        given = tmp_path / "given"
        given.mkdir()
        (given / "a.txt").write_text("long input")

        told = confined(f"r = open({str(given / 'a.txt')!r}).read()", read=[str(given)])
        refused = [
            confined(f"import os; {code}", read=[str(given)]).error
            for code in (
                f"open({str(given / 'a.txt')!r}, 'r+')",
                f"os.unlink({str(given / 'a.txt')!r})",
                f"open({str(given / 'b.txt')!r}, 'w')",
                f"f = open({str(given / 'a.txt')!r}); open(f'/proc/self/fd/{{f.fileno()}}', 'w')",
            )
        ]

        assert told.r == "long input"
        assert refused == ["PermissionError"] * 4
        assert (given / "a.txt").read_text() == "long input"

    def test_a_path_to_read_that_is_not_there_is_an_error_and_not_a_surprise_later(
        self, confined: Confined, tmp_path: Path
    ) -> None:
        assert confined("r = 1", read=[str(tmp_path / "missing")]).error == "FileNotFoundError"


@needs_kernel
class TestNetwork:
    @pytest.mark.parametrize(
        "family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_CAN"]
    )
    def test_no_socket_of_any_family_can_be_made(self, confined: Confined, family: str) -> None:
        told = confined(f"import socket; socket.socket(getattr(socket, {family!r}), socket.SOCK_STREAM)")

        assert told.error == "PermissionError"

    def test_a_pair_of_connected_sockets_works_and_reaches_nothing_else(
        self, confined: Confined, tmp_path: Path
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as canary:
            path = str(tmp_path / "canary")
            canary.bind(path)
            canary.setblocking(False)

            told = confined(f"""if True:
                import socket, errno
                a, b = socket.socketpair()
                a.sendall(b"ping"); assert b.recv(4) == b"ping"
                r = []
                for attempt in (
                    lambda: a.sendto(b"out", {path!r}),
                    lambda: a.sendmsg([b"out"], [], 0, {path!r}),
                    lambda: a.connect({path!r}),
                    lambda: a.bind(scratch + "/named"),
                    lambda: a.listen(),
                    lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
                    lambda: a.getsockopt(socket.SOL_SOCKET, 77, 4),
                    lambda: a.setsockopt(socket.SOL_SOCKET, 76, 1),
                ):
                    try: attempt()
                    except OSError as error: r.append(errno.errorcode[error.errno])
            """)

            assert told.r == ["EPERM", "EISCONN", *["EPERM"] * 6], told.message
            with pytest.raises(BlockingIOError):
                canary.recv(100)

    def test_descriptors_already_held_still_carry_data_and_other_descriptors(
        self, confined: Confined, secret: Path
    ) -> None:
        ours, its = socket.socketpair()
        with ours, its, secret.open("rb") as opened:
            socket.send_fds(ours, [b"here"], [opened.fileno()])

            told = confined(
                f"""if True:
                    import os, socket
                    s = socket.socket(fileno={its.fileno()})
                    text, (fd, *_), _, _ = socket.recv_fds(s, 10, 1)
                    s.sendmsg([b"got ", os.read(fd, 100)])
                    r = text.decode()
                """,
                pass_fds=(its.fileno(),),
            )

            assert told.r == "here", told.message
            assert ours.recv(100) == b"got a key"


@needs_kernel
class TestProcesses:
    @pytest.mark.parametrize(
        "code",
        [
            "import os; os.fork()",
            "import subprocess; subprocess.run(['/bin/true'])",
            "import os; os.execv('/bin/true', ['true'])",
            "import os; os.posix_spawn('/bin/true', ['true'], {})",
            "import multiprocessing as m; m.Process(target=print).start()",
            "import multiprocessing as m; m.get_context('spawn').Process(target=print).start()",
            "from concurrent.futures import ProcessPoolExecutor as P; P(1).submit(len, 'a').result()",
            "import os, signal; os.kill(os.getppid(), 0)",
            "import os, signal; os.kill(0, 0)",
            "import os, signal; os.kill(-1, 0)",
            "import os; os.pidfd_open(os.getppid())",
            "import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 10)",
            "import os; os.sched_setaffinity(os.getppid(), {0})",
            "import os; os.setsid()",
            "import os; os.memfd_create('x')",
            "import os; os.setuid(1)",
            "import fcntl, os; a, b = os.pipe(); fcntl.fcntl(a, fcntl.F_SETOWN, os.getppid())",
            "import resource, os; resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
        ],
    )
    def test_no_process_can_be_started_or_touched(self, confined: Confined, code: str) -> None:
        assert confined(code).error == "PermissionError"

    @pytest.mark.parametrize(
        "call",
        [
            "ptrace 16", "process_vm_readv 1", "unshare 0x10000000", "setns 0", "io_uring_setup 8", "keyctl 0",
            "bpf 0", "userfaultfd 0", "perf_event_open 0", "personality 0", "mount 0", "pidfd_getfd 0", "seccomp 0",
            "pidfd_send_signal 0", "open_by_handle_at 0", "inotify_init1 0", "shmget 0", "mq_open 0", "prctl 4",
            "capset 0", "setresuid 0", "chroot 0", "init_module 0", "sethostname 0", "reboot 0", "ioctl 0",
        ],
    )  # fmt: skip
    def test_calls_that_are_not_listed_are_refused(self, confined: Confined, call: str) -> None:
        name, first = call.split()
        numbers = {
            "ptrace": (101, 117), "process_vm_readv": (310, 270), "unshare": (272, 97), "setns": (308, 268),
            "io_uring_setup": (425, 425), "keyctl": (250, 219), "bpf": (321, 280), "userfaultfd": (323, 282),
            "perf_event_open": (298, 241), "personality": (135, 92), "mount": (165, 40), "pidfd_getfd": (438, 438),
            "seccomp": (317, 277), "pidfd_send_signal": (424, 424), "open_by_handle_at": (304, 265),
            "inotify_init1": (294, 26), "shmget": (29, 194), "mq_open": (240, 180), "prctl": (157, 167),
            "capset": (126, 91), "setresuid": (117, 147), "chroot": (161, 51), "init_module": (175, 105),
            "sethostname": (170, 161), "reboot": (169, 142), "ioctl": (16, 29),
        }  # fmt: skip
        number = numbers[name][0 if platform.machine() == "x86_64" else 1]

        told = confined(f"""if True:
            import ctypes, errno
            libc = ctypes.CDLL(None, use_errno=True)
            r = [libc.syscall({number}, {first}, 0, 0, 0, 0, 0), errno.errorcode[ctypes.get_errno()]]
        """)

        assert told.r == [-1, "EPERM"]

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 alone has other tables of calls")
    def test_the_other_tables_of_system_calls_are_closed(self, confined: Confined) -> None:
        told = confined("""if True:
            import ctypes, errno
            libc = ctypes.CDLL(None, use_errno=True)
            r = [libc.syscall(0x40000000 | 39), errno.errorcode[ctypes.get_errno()]]
        """)
        # mov eax, 20 (getpid of 32-bit Linux); int 0x80; ret
        killed = confined("""if True:
            import ctypes, mmap
            memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            memory.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
            ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
        """)

        assert told.r == [-1, "EPERM"]
        assert killed.status == -signal.SIGSYS

    def test_it_may_signal_itself(self, confined: Confined) -> None:
        told = confined("""if True:
            import os, signal, threading
            r = []
            signal.signal(signal.SIGUSR1, lambda *_: r.append("got"))
            os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1)
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        """)

        assert told.r == ["got"] * 3

    @pytest.mark.parametrize("user", [None, 61111])
    def test_no_capability_and_no_dump_is_left_and_the_kernel_would_kill_it_first(
        self, confined: Confined, user: int | None
    ) -> None:
        told = confined(
            """if True:
                score.seek(0)
                r = {name: text.strip() for name, _, text in (line.partition(":") for line in status)}
                r["dumpable"], r["score"] = libc.prctl(3, 0, 0, 0, 0), score.read().strip()
            """,
            # A child of a supervisor that cannot be dumped cannot be either.
            before="""if True:
                import ctypes
                libc = ctypes.CDLL(None)
                status, score = open("/proc/self/status"), open("/proc/self/oom_score_adj")
                libc.prctl(4, 0, 0, 0, 0)
            """,
            user=user,
            scratch=".",
        )

        assert {told.r[key] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert user or os.getuid() or told.r["CapBnd"] == "0" * 16
        assert (told.r["NoNewPrivs"], told.r["Seccomp"]) == ("1", "2")
        assert (told.r["dumpable"], told.r["score"]) == (0, "1000")

    def test_programs_run_where_they_are_asked_for_and_stay_confined(self, confined: Confined) -> None:
        folders = [path for path in ("/bin", "/usr/bin") if Path(path).is_dir()]

        told = confined(
            """if True:
                import subprocess
                run = lambda *c: subprocess.run(c, capture_output=True, text=True)
                shell = run("/bin/sh", "-c", f"echo hello | cat; cat {secret}; kill -0 $PPID && echo parent")
                open(scratch + "/x.sh", "w").write("#!/bin/sh\\necho ran\\n")
                try: mine = run(scratch + "/x.sh").stdout
                except PermissionError: mine = "refused"
                r = [shell.stdout, "ermission" in shell.stderr, mine]
            """,
            read=folders,
            allow_subprocess=True,
        )

        assert told.r == ["hello\nparent\n", True, "refused"], told
        outside = confined(f"import os; os.kill({os.getpid()}, 0)", allow_subprocess=True)
        assert outside.error == "PermissionError"


@needs_kernel
class TestLimits:
    def test_memory_ends_in_an_error_that_code_can_catch(self, confined: Confined) -> None:
        told = confined("""if True:
            try: bytearray(2 << 30)
            except MemoryError: r = "caught"
        """)

        assert told.r == "caught"

    def test_a_file_too_large_is_an_error(self, confined: Confined, scratch: Path) -> None:
        told = confined("open(scratch + '/big', 'wb').write(bytes(20 << 20))")

        assert (told.error, "large" in told.message) == ("OSError", True)
        assert (scratch / "big").stat().st_size <= 16 * MIB

    def test_open_files_are_bounded(self, confined: Confined) -> None:
        told = confined("f = [open('/dev/null') for _ in range(200)]", max_open_files=100)

        assert (told.error, "Too many open files" in told.message) == ("OSError", True)

    def test_limits_cannot_be_raised_again(self, confined: Confined) -> None:
        code = "import resource as r; r.setrlimit(getattr(r, limit), (r.RLIM_INFINITY, r.RLIM_INFINITY))"

        outcomes = {name: confined(f"limit = {name!r}; {code}").error for name in ("RLIMIT_AS", "RLIMIT_FSIZE")}

        assert set(outcomes.values()) <= {"ValueError", "PermissionError"}

    def test_the_report_says_who_counts_threads_and_that_is_true(self, confined: Confined) -> None:
        told = confined(
            """if True:
                import threading
                go, r = threading.Event(), 1
                try:
                    while r < 200:
                        threading.Thread(target=go.wait, daemon=True).start(); r += 1
                except RuntimeError: pass
                go.set()
            """,
            before="import threading",
            user=61111,
            scratch=".",  # the folders above it are closed to this user
        )

        assert told.report.get("threads") in ("own", "user"), told
        if told.report["threads"] == "own":
            assert told.r == 16

    @pytest.mark.skipif(os.getuid() != 0, reason="only root is exempt")
    def test_for_root_the_report_admits_that_nobody_counts_threads(self, confined: Confined) -> None:
        if confining._is_initial_user_namespace():
            assert confined("r = 1").report["threads"] is None

    def test_no_layer_is_skipped_in_silence(self, confined: Confined) -> None:
        started = "import threading; go = threading.Event(); threading.Thread(target=go.wait, daemon=True).start()"

        late = confined("r = 1", before=started)
        twice = confined(
            "confine(scratch=scratch, read=[], memory_bytes=None, max_file_bytes=1, max_threads=1)",
            before="from rlm_graph.executors.sandbox.confinement.confine import confine",
        )

        assert (late.error, "threads" in late.message) == ("RuntimeError", True)
        assert twice.error in ("OSError", "PermissionError", "RuntimeError")


@needs_kernel
class TestPython:
    """What ordinary code does still works."""

    @pytest.mark.parametrize(
        "code",
        [
            "from concurrent.futures import ThreadPoolExecutor as T; r = list(T(8).map(len, ['a'] * 50)) == [1] * 50",
            "import asyncio; r = asyncio.run(asyncio.wait_for(asyncio.to_thread(lambda: True), 5))",
            "import decimal; r = str(decimal.Decimal(1) / 7).startswith('0.142857')",
            "import zoneinfo, datetime as d; r = d.datetime.now(zoneinfo.ZoneInfo('Europe/Berlin')) is not None",
            "import ssl, hashlib; ssl.create_default_context(); r = hashlib.sha256(b'').hexdigest()[:4] == 'e3b0'",
            "import mimetypes; r = mimetypes.guess_type('a.html')[0] == 'text/html'",
            "import uuid, secrets, random; uuid.uuid1(); uuid.uuid4(); r = len(secrets.token_bytes(4)) == 4",
            "import platform, os; platform.platform(); r = os.cpu_count() >= 1",
            "import time; time.sleep(0.001); r = time.localtime().tm_year > 2000 and time.perf_counter() > 0",
            "import mmap; m = mmap.mmap(-1, 10000); m[:2] = b'ab'; r = m[:2] == b'ab'",
            "import ctypes; f = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x + 1); r = f(1) == 2",
            "import logging, argparse, csv, statistics, difflib, xml.dom.minidom, unittest, email; r = True",
            "import pathlib; p = pathlib.Path(scratch, 'f'); p.touch(); p.touch(); r = p.read_text() == ''",
            "import shelve; d = shelve.open(scratch + '/s'); d['a'] = [1]; d.close(); r = True",
            "import fcntl; f = open(scratch + '/l', 'w'); fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, 2); r = True",
            "import linecache, traceback, json; r = len(linecache.getlines(json.__file__)) > 10",
            "import sys; sys.setrecursionlimit(20000); f = lambda n: n and f(n - 1); r = f(10000) == 0",
            "import signal, time; signal.signal(14, lambda *_: 0); signal.setitimer(0, 1e-3); signal.pause(); r = True",
        ],
    )
    def test_ordinary_code_runs(self, confined: Confined, code: str) -> None:
        told = confined(code)

        assert told.r is True, told.message

    def test_numerical_libraries_run(self, confined: Confined) -> None:
        pytest.importorskip("numpy")

        told = confined("import numpy; r = float(numpy.linalg.norm(numpy.ones((300, 300)) @ numpy.ones(300))) > 0")

        assert told.r is True, told.message


ALLOW, KILL = 0x7FFF0000, 0x80000000


def refuse(error: int) -> int:
    return 0x00050000 | error


def run_filter(code: bytes, arch: int, nr: int, *arguments: int) -> int:
    """Do what the kernel does with a filter: run it over one call and return its verdict."""
    data = struct.pack("<iIQ6Q", nr, arch, 0, *(a & (1 << 64) - 1 for a in (*arguments, 0, 0, 0, 0, 0, 0)[:6]))
    program = list(struct.iter_unpack("=HBBI", code))
    accumulator = at = 0
    while True:
        operation, if_true, if_false, operand = program[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x06:
            return int(operand)
        else:
            holds = {0x15: accumulator == operand, 0x25: accumulator > operand, 0x35: accumulator >= operand}[operation]
            at += if_true if holds else if_false


@pytest.fixture(params=["x86_64", "aarch64"])
def verdict(request: pytest.FixtureRequest) -> Callable[..., int]:
    arch = request.param
    code = seccomp.program(arch, pid=4242, truncation_is_guarded=True, signals_are_scoped=True)
    return lambda name, *arguments: run_filter(
        code,
        syscalls.AUDIT_ARCH[arch],
        name if isinstance(name, int) else syscalls.number(name, arch) or pytest.skip(f"{arch} has no {name}"),
        *arguments,
    )


class TestFilter:
    """The filter, run here over calls for both kinds of machine."""

    def test_every_call_it_names_has_a_number_and_no_two_share_one(self) -> None:
        names = {*seccomp.FREE, *seccomp.WITHOUT_EFFECT, *seccomp.NO_XATTRS, *seccomp.SUBPROCESS, *seccomp.SIGNALS}

        assert names <= set(syscalls.NUMBERS)
        for column in (0, 1):
            numbers = [pair[column] for pair in syscalls.NUMBERS.values() if pair[column] is not None]
            assert len(numbers) == len(set(numbers))

    def test_threads_may_start_and_processes_and_namespaces_may_not(self, verdict: Callable[..., int]) -> None:
        assert verdict("clone", 0x3D0F00) == ALLOW
        assert verdict("clone", 17) == refuse(1)
        assert verdict("clone", 0x00010000 | 0x10000000) == refuse(1)
        assert verdict("clone3") == refuse(38)
        assert verdict("execve") == refuse(1)

    def test_only_itself_can_be_signalled(self, verdict: Callable[..., int]) -> None:
        assert {verdict(name, 4242) for name in ("kill", "tgkill", "tkill")} == {ALLOW}
        for target in (1, 0, -1, -4242, 4243):
            assert {verdict(name, target) for name in ("kill", "tgkill", "tkill")} == {refuse(1)}
        # The kernel reads a process id as 32 bits, so higher ones make no other process of it.
        assert verdict("kill", 4242 | 1 << 32) == ALLOW

    def test_pointers_are_looked_at_whole(self, verdict: Callable[..., int]) -> None:
        assert verdict("sendto", 3, 1, 1, 0, 0, 0) == ALLOW
        assert verdict("sendto", 3, 1, 1, 0, 1 << 32, 0) == refuse(1)
        assert verdict("prlimit64", 0, 7, 0, 1) == ALLOW
        assert verdict("prlimit64", 0, 7, 1 << 32, 1) == refuse(1)
        assert verdict("prlimit64", 1, 7, 0, 1) == refuse(1)

    def test_a_file_cannot_be_cut_by_opening_it_to_read(self, verdict: Callable[..., int]) -> None:
        assert verdict("openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
        assert verdict("openat", 0, 0, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) == ALLOW
        assert verdict("openat", 0, 0, os.O_RDONLY | os.O_TRUNC) == refuse(1)
        assert verdict("openat", 0, 0, os.O_ACCMODE | os.O_TRUNC) == refuse(1)
        assert verdict("openat2") == refuse(38)

    def test_sockets_terminals_and_descriptors_are_limited(self, verdict: Callable[..., int]) -> None:
        assert verdict("socketpair", 1, 1 | 0o2000000, 0) == ALLOW
        assert {verdict("socketpair", *a) for a in ((1, 2), (1, 5), (2, 1), (40, 1))} == {refuse(1)}
        assert verdict("ioctl", 0, 0x5401) == ALLOW
        assert verdict("ioctl", 0, 0x5412) == refuse(1)
        assert verdict("ioctl", 0, 0x5412 | 1 << 32) == refuse(1)
        assert verdict("fcntl", 0, 1030) == ALLOW
        assert verdict("fcntl", 0, 8) == refuse(1)
        assert verdict("prctl", 15) == ALLOW
        assert verdict("prctl", 1) == refuse(1)

    def test_calls_without_effect_unknown_calls_and_other_machines(self, verdict: Callable[..., int]) -> None:
        assert verdict("fchmodat") == refuse(0)
        assert verdict("utimensat", 0, 0, 1 << 32) == verdict("utimensat", 0, 0, 1) == refuse(0)
        assert verdict("utimensat", 0, 0, 0) == refuse(1)
        assert verdict("setxattr") == refuse(95)
        assert verdict(seccomp.NEWEST + 1) == refuse(38)
        assert verdict(0x40000000) == refuse(1)
        code = seccomp.program("x86_64", pid=1, truncation_is_guarded=True, signals_are_scoped=True)
        assert run_filter(code, 0x40000003, 20) == KILL

    def test_without_the_help_of_a_newer_landlock_the_filter_is_stricter(self) -> None:
        for arch in ("x86_64", "aarch64"):
            audit, truncate = syscalls.AUDIT_ARCH[arch], syscalls.number("truncate", arch)
            kill = syscalls.number("kill", arch)
            assert truncate is not None
            assert kill is not None
            old = seccomp.program(
                arch, pid=7, truncation_is_guarded=False, signals_are_scoped=False, allow_subprocess=True
            )
            new = seccomp.program(
                arch, pid=7, truncation_is_guarded=True, signals_are_scoped=True, allow_subprocess=True
            )

            assert [run_filter(code, audit, truncate) for code in (old, new)] == [refuse(1), ALLOW]
            assert [run_filter(code, audit, kill, 8) for code in (old, new)] == [refuse(1), ALLOW]
