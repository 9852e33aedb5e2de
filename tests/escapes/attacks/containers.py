"""Containers: what code in one could reach of the machine beneath, of its daemon, and of the root beside it."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

ROOT = "only root may"
NONE = "there is nothing of the kind outside of containers"

CONTAINERS = (
    Attack(
        "have the kernel run a program when one crashes",
        "attempt(lambda: os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "restart the machine by its magic key",
        "attempt(lambda: os.open('/proc/sysrq-trigger', os.O_WRONLY))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "have the kernel run a program when a device comes",
        "for p in ('/sys/kernel/uevent_helper', '/proc/sys/kernel/modprobe', '/proc/sys/kernel/hotplug'): attempt(lambda: os.open(p, os.O_WRONLY))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "have the kernel run a program when a control group empties",
        """
import glob
for p in glob.glob("/sys/fs/cgroup/*/release_agent") or ["/sys/fs/cgroup/release_agent"]: attempt(lambda: os.open(p, os.O_WRONLY))
attempt(lambda: sc("mount", b"cgroup", b".", b"cgroup", 0, b"memory") + 1)
""",
        control=Control.NOT_RUN,
        why="it would mount something on this machine",
    ),
    Attack(
        "raise the limits of its control group",
        """
import glob
for pattern in ("memory/memory.limit_in_bytes", "cpu*/cpu.cfs_quota_us", "pids/pids.max", "memory.max", "pids.max"):
    for p in glob.glob("/sys/fs/cgroup/" + pattern) or [pattern]: attempt(lambda: os.open(p, os.O_WRONLY))
""",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "change how the kernel handles memory",
        "attempt(lambda: os.open('/proc/sys/vm/overcommit_memory', os.O_WRONLY)); attempt(lambda: os.open('/proc/sys/vm/drop_caches', os.O_WRONLY))",
        control=Control.MAY_BITE,
        why=ROOT,
    ),
    Attack(
        "change the program that runs beside it with more rights",
        "attempt(lambda: open(__import__('rlm_graph').__path__[0].partition('.pyz')[0] + '.pyz', 'r+b'))\nattempt(lambda: open('/rlm-graph/more', 'w'))",
        control=Control.BLUNT,
        why=NONE,
    ),
    Attack(
        "list and read what others in its container were given",
        "attempt(lambda: os.listdir('/rlm-graph/contexts')); attempt(lambda: open(CONTEXT, 'rb').read(9)); attempt(lambda: os.listdir(os.path.dirname(CONTEXT)))",
        control=Control.BITES,
    ),
    Attack(
        "leave a module where another user's Python looks",
        """
import site
for folder in {"/", *sys.path, site.getusersitepackages(), *site.getsitepackages()} - {"", SCRATCH, os.getcwd()}:
    attempt(lambda: open(folder + "/rlm_canary.py", "x").write("x") and (os.unlink(folder + "/rlm_canary.py") or folder))
""",
        control=Control.MAY_BITE,
        why="not every user may write there",
    ),
    Attack(
        "make a program that runs as its owner",
        "open('x', 'w').close(); os.chmod('x', 0o6755); attempt(lambda: os.stat('x').st_mode & 0o6000 and os.stat('x').st_uid == 0)",
        stopped=(Outcome.DENIED, Outcome.HARMLESS),
        control=Control.MAY_BITE,
        why="only where it is root",
    ),
    Attack(
        "ask the cloud for the machine's keys",
        "import urllib.request; attempt(lambda: urllib.request.urlopen('http://169.254.169.254/latest/meta-data/', timeout=1).read())",
        control=Control.BLUNT,
        why="not every machine is in a cloud",
    ),
    Attack(
        "reach the machine by its bridge",
        "import socket\nfor port in (TCP, 2375, 2376): attempt(lambda: socket.create_connection(('172.17.0.1', port), 1))",
        control=Control.MAY_BITE,
        why="not every machine has one",
    ),
    Attack(
        "ask the daemon for another container",
        """
import http.client, socket
class Daemon(http.client.HTTPConnection):
    def connect(self): self.sock = socket.socket(socket.AF_UNIX); self.sock.connect("/var/run/docker.sock")
def act():
    d = Daemon("docker"); d.request("GET", "/containers/json"); return d.getresponse().read()
attempt(act)
""",
        control=Control.MAY_BITE,
        why="not every machine runs one",
    ),
)
