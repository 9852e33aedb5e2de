"""Files outside: reading, changing, removing, replacing them, and finding ways round a check."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

FILES = (
    Attack("read a file outside", "attempt(lambda: open(SECRET).read())"),
    Attack("read the file of users", "attempt(lambda: len(open('/etc/passwd').read()))"),
    Attack("list a folder outside", "attempt(lambda: os.listdir(FOLDER))"),
    Attack("walk up to the root", "os.chdir('/'); attempt(lambda: os.listdir('.'))"),
    Attack("list the user's home", "attempt(lambda: os.listdir(HOME) or 'empty')"),
    Attack("create a file outside", "attempt(lambda: open(FOLDER + '/new', 'w').write('x'))"),
    Attack("append to a file outside", "attempt(lambda: open(SECRET, 'a').write('x'))"),
    Attack("remove a file outside", "attempt(lambda: os.unlink(SECRET) or 'gone')"),
    Attack("remove a tree outside", "import shutil; attempt(lambda: shutil.rmtree(FOLDER) or 'gone')"),
    Attack("move a file outside into scratch", "attempt(lambda: os.rename(SECRET, 'mine') or open('mine').read())"),
    Attack(
        "replace a file outside by one of its own",
        "open('mine', 'w').write('forged'); attempt(lambda: os.replace('mine', SECRET) or 'replaced')",
    ),
    Attack(
        "swap a file outside with one of its own",
        "open('mine', 'w').write('x')\n"
        "attempt(lambda: sc('renameat2', -100, b'mine', -100, SECRET.encode(), 2) or open('mine').read())",
    ),
    Attack("link a file outside into scratch", "attempt(lambda: os.link(SECRET, 'hard') or open('hard').read())"),
    Attack(
        "link its own file into a folder outside", "open('m', 'w'); attempt(lambda: os.link('m', FOLDER + '/m') or 1)"
    ),
    Attack("read through a symbolic link", "os.symlink(SECRET, 'soft'); attempt(lambda: open('soft').read())"),
    Attack(
        "read through a link to a folder",
        "os.symlink(FOLDER, 'dir'); attempt(lambda: open('dir/' + os.path.basename(SECRET)).read())",
    ),
    Attack(
        "swap a link between check and use",
        """
import threading
open("fine", "w").write("fine"); os.symlink("fine", "race")
import time
sys.setswitchinterval(1e-5)
stop, got, refused, end = threading.Event(), [], [], time.monotonic() + 1
def swap():
    while not stop.is_set():
        for target in (SECRET, "fine"):
            os.symlink(target, "next"); os.replace("next", "race")
threading.Thread(target=swap).start()
while not got and time.monotonic() < end:
    try: text = open("race").read()
    except OSError as error: refused.append(error)
    else:
        if text != "fine": got.append(text)
stop.set()
attempt(lambda: got)  if got else print("REFUSED" if refused else "NOTHING", len(refused))
""",
    ),
    Attack("change a mode outside", "attempt(lambda: os.chmod(SECRET, 0o777) or None)", stopped=(Outcome.HARMLESS,)),
    Attack(
        "change a mode through a descriptor",
        "fd = os.open(SECRET, os.O_PATH); attempt(lambda: os.chmod(f'/proc/self/fd/{fd}', 0o777) or None)",
        stopped=(Outcome.HARMLESS, Outcome.DENIED),
    ),
    Attack(
        "change a mode by a raw call",
        "attempt(lambda: sc('fchmodat', -100, SECRET.encode(), 0o777, 0) or None)",
        stopped=(Outcome.HARMLESS,),
    ),
    Attack(
        "change times outside",
        "attempt(lambda: os.utime(SECRET, (1, 1)) or None)",
        stopped=(Outcome.HARMLESS,),
    ),
    Attack("touch a file outside", "import pathlib; attempt(lambda: pathlib.Path(SECRET).touch())"),
    Attack(
        "change an owner outside",
        "attempt(lambda: os.chown(SECRET, 1234, 1234) or 'mine')",
        control=Control.MAY_BITE,
        why="only root may give files away",
    ),
    Attack(
        "attach an attribute outside",
        "attempt(lambda: os.setxattr(SECRET, 'user.canary', b'x') or 'set')",
        control=Control.MAY_BITE,
        why="not every file system has attributes",
    ),
    Attack("truncate a file outside", "attempt(lambda: os.truncate(SECRET, 0) or 'empty')"),
    Attack(
        "truncate a file by opening it to read",
        "attempt(lambda: os.open(SECRET, os.O_RDONLY | os.O_TRUNC)); attempt(lambda: os.open(SECRET, 3 | os.O_TRUNC))",
    ),
    Attack("make a folder outside", "attempt(lambda: os.mkdir(FOLDER + '/dir') or 'made')"),
    Attack(
        "make a device",
        "attempt(lambda: os.mknod('disk', 0o60600, os.makedev(8, 0)) or 'made')",
        control=Control.MAY_BITE,
        why="only root may make devices",
    ),
    Attack("make a pipe in the file system", "attempt(lambda: os.mkfifo('pipe') or 'made')"),
    Attack("go through its own root in /proc", "attempt(lambda: open('/proc/self/root' + SECRET).read())"),
    Attack("go through another's root in /proc", "attempt(lambda: open(f'/proc/{HOST}/root' + SECRET).read())"),
    Attack(
        "go through a descriptor of the root",
        "r = os.open('/', os.O_PATH); attempt(lambda: open(os.open(SECRET[1:], 0, dir_fd=r)).read())",
    ),
    Attack(
        "open again what was opened as a path",
        "fd = os.open(SECRET, os.O_PATH); attempt(lambda: open(f'/proc/self/fd/{fd}').read())",
    ),
    Attack(
        "open by openat2",
        """
how = (ctypes.c_uint64 * 3)(0, 0, 0)
attempt(lambda: os.read(sc("openat2", -100, SECRET.encode(), how, 24), 1000))
""",
    ),
    Attack(
        "open by handle",
        """
handle = (ctypes.c_uint32 * 40)(128); mount = ctypes.c_int()
def act():
    sc("name_to_handle_at", -100, SECRET.encode(), handle, ctypes.byref(mount), 0)
    return os.read(sc("open_by_handle_at", os.open(FOLDER, os.O_PATH | os.O_DIRECTORY), handle, 0), 1000)
attempt(act)
""",
        control=Control.MAY_BITE,
        why="only root may open by handle, and not on every file system",
    ),
    Attack(
        "import a module from outside",
        "sys.path.insert(0, FOLDER); attempt(lambda: __import__('canary_module').TOKEN)",
    ),
    Attack(
        "attach a database outside",
        """
import sqlite3
db = sqlite3.connect("own.sqlite")
attempt(lambda: db.execute("attach ? as other", (FOLDER + "/canary.sqlite",)) and db.execute("select * from other.t").fetchall())
attempt(lambda: db.execute("vacuum into ?", (FOLDER + "/copy.sqlite",)) and "written")
""",
    ),
    Attack(
        "unpack an archive over a file outside",
        """
import io, tarfile
data = io.BytesIO()
with tarfile.open(fileobj=data, mode="w") as tar:
    entry = tarfile.TarInfo(SECRET); entry.size = 6; tar.addfile(entry, io.BytesIO(b"forged"))
data.seek(0)
trusting = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
attempt(lambda: tarfile.open(fileobj=data).extractall("/", **trusting) or "written")
""",
    ),
    Attack(
        "watch a folder outside",
        "attempt(lambda: sc('inotify_add_watch', sc('inotify_init1', 0), FOLDER.encode(), 0xFFF))",
    ),
    Attack(
        "watch the whole file system",
        "attempt(lambda: reaches('fanotify_init', 0, 0))",
        control=Control.MAY_BITE,
        why="old kernels leave it to root",
    ),
    Attack(
        "write to shared memory of the machine",
        "attempt(lambda: open('/dev/shm/rlm-canary', 'w').write('x') and (os.unlink('/dev/shm/rlm-canary') or 'wrote'))",
        control=Control.MAY_BITE,
        why="not every machine has /dev/shm",
    ),
    Attack(
        "write where everybody may",
        """
import tempfile
for folder in ("/tmp", "/var/tmp"):
    attempt(lambda: tempfile.NamedTemporaryFile(dir=folder).name)
""",
    ),
    Attack(
        "read the machine's disks and memory",
        "for p in DEVICES: attempt(lambda: open(p, 'rb').read(1) and p)",
        control=Control.MAY_BITE,
        why="only root may, and not every machine has them",
    ),
    Attack(
        "send a file outside through a socket it holds",
        "import socket; a, b = socket.socketpair(); attempt(lambda: os.sendfile(a.fileno(), os.open(SECRET, 0), 0, 99) and b.recv(99))",
    ),
    Attack(
        "see that a file outside exists, and its size",
        "print('DECLARED', os.stat(SECRET).st_size)",
        stopped=(Outcome.DECLARED,),
        control=Control.BITES,
        why="the kernel has no right that hides it",
    ),
    Attack(
        "leave a program in scratch and run it",
        "open('x', 'w').write(f'#!/bin/sh\\necho x > {FOLDER}/ran\\n'); os.chmod('x', 0o777); keep_channel(); attempt(lambda: os.execv('./x', ['x']))",
        control=Control.MAY_BITE,
        why="the mode may be lost on some file systems",
    ),
)
