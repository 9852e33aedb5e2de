"""The network, and sockets of every family."""

# ruff: noqa: E501  a hostile line is kept as it was thought of

from __future__ import annotations

from tests.escapes.attack import Attack, Control, Outcome

NETWORK = (
    Attack(
        "connect to a server on loopback",
        "import socket; attempt(lambda: socket.create_connection(('127.0.0.1', TCP), 5))",
    ),
    Attack(
        "fetch a page",
        "import urllib.request; attempt(lambda: urllib.request.urlopen(f'http://127.0.0.1:{TCP}/', timeout=5).read())",
    ),
    Attack(
        "connect with asyncio",
        "import asyncio\nattempt(lambda: asyncio.run(asyncio.wait_for(asyncio.open_connection('127.0.0.1', TCP), 5)))",
    ),
    Attack("connect over IPv6", "import socket; attempt(lambda: socket.socket(socket.AF_INET6).close() or 'a socket')"),
    Attack(
        "send a datagram",
        "import socket; attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP)))",
    ),
    Attack(
        "send data while connecting",
        "import socket; attempt(lambda: socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', TCP)))",
    ),
    Attack("make a socket by a raw call", "attempt(lambda: sc('socket', 2, 1, 0))"),
    Attack(
        "connect to a Unix socket",
        "import socket; s = None\ndef act():\n    s = socket.socket(socket.AF_UNIX); s.connect(UNIX); return s.send(b'x')\nattempt(act)",
    ),
    Attack(
        "send to a Unix socket",
        "import socket; attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', UNIX_DATAGRAM))",
    ),
    Attack(
        "send to a Unix socket from one of a pair",
        "import socket; attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', UNIX_DATAGRAM))",
    ),
    Attack(
        "name another target on a socket it holds",
        """
import socket
for fd in sockets():
    s = socket.socket(fileno=os.dup(fd))
    attempt(lambda: s.sendmsg([b"x"], [], 0, UNIX_DATAGRAM))
    attempt(lambda: s.connect(UNIX) or "connected")
""",
        control=Control.BLUNT,
        why="a connected stream takes no other target",
    ),
    Attack(
        "connect to an abstract Unix socket",
        "import socket\ndef act():\n    s = socket.socket(socket.AF_UNIX); s.connect('\\0' + ABSTRACT); return s.send(b'x')\nattempt(act)",
    ),
    Attack("listen on TCP", "import socket; attempt(lambda: socket.create_server(('127.0.0.1', 0)).getsockname())"),
    Attack(
        "listen on a Unix socket",
        "import socket; attempt(lambda: socket.socket(socket.AF_UNIX).bind('here') or 'bound')",
    ),
    Attack(
        "make a raw socket",
        "import socket; attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))",
        control=Control.MAY_BITE,
        why="only root may",
    ),
    Attack(
        "sockets of every family",
        "import socket\nfor family in range(1, 46):\n    for kind in (1, 2, 3, 5): attempt(lambda: socket.socket(family, kind) and family)",
    ),
    Attack(
        "pairs of every family",
        "import socket\nfor f in range(1, 46):\n    for k in (2, 5): attempt(lambda: socket.socketpair(f, k) and f)",
    ),
    Attack(
        "look a name up",
        "import socket; attempt(lambda: socket.gethostbyname('localhost.localdomain') and None)",
        control=Control.BLUNT,
        why="it may be answered without a socket",
        stopped=(Outcome.DENIED, Outcome.HARMLESS),
    ),
    Attack(
        "speak to the Docker daemon",
        "import socket\nfor p in ('/var/run/docker.sock', '/run/user/0/bus', '/run/dbus/system_bus_socket'):\n    attempt(lambda: socket.socket(socket.AF_UNIX).connect(p) or p)",
        control=Control.MAY_BITE,
        why="not every machine runs one",
    ),
    Attack(
        "write into the system's log",
        "import socket; attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].connect('/dev/log') or 'connected')",
        control=Control.MAY_BITE,
        why="not every machine runs one",
    ),
    Attack("send many messages at once", "attempt(lambda: reaches('sendmmsg', sockets()[0], 0, 0, 0))"),
    Attack(
        "get a descriptor of the process at the other end",
        "import socket\nfor fd in sockets(): attempt(lambda: socket.socket(fileno=os.dup(fd)).getsockopt(1, 77, 4))",
        control=Control.MAY_BITE,
        why="Linux 6.5 and later",
    ),
    Attack(
        "pass descriptors to the supervisor until it has no more",
        "import socket\nfor fd in sockets():\n    s = socket.socket(fileno=os.dup(fd)); s.settimeout(2)\n    for _ in range(2000):\n        try: socket.send_fds(s, [b' '], [0] * 200)\n        except OSError as e: print('REFUSED', e); break",
        stopped=(Outcome.DENIED, Outcome.HARMLESS, Outcome.KILLED),
        control=Control.BLUNT,
        why="the supervisor takes none",
    ),
)
