"""The relay: standard input and output ↔ a supervisor's socket, for hosts that can only start commands there."""

from __future__ import annotations

import os
import select
import socket

BYTES = 1 << 16


def relay(path: str) -> None:
    """Carry bytes both ways until one side ends. Raises `OSError` if nobody listens at `path`."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        while True:
            readable, _, _ = select.select([0, sock.fileno()], [], [])
            if sock.fileno() in readable:
                data = sock.recv(BYTES)
                if not data:
                    return
                while data:
                    data = data[os.write(1, data) :]
            if 0 in readable:
                data = os.read(0, BYTES)
                if not data:
                    return
                sock.sendall(data)
