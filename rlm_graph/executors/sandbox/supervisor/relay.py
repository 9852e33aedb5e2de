"""The relay: standard input and output ↔ a supervisor's socket, for owners that can only start commands there."""

from __future__ import annotations

import os
import select
import socket
import time

BYTES = 1 << 16
BEGIN_S = 10.0
"""Seconds that a supervisor which is just being started has until it must listen."""


def relay(path: str, silence_s: float | None = None) -> None:
    """Carry bytes both ways until one side ends. Raises `OSError` if nobody listens at `path` after some patience.

    An owner that sends nothing for `silence_s` seconds is taken for gone. Without `silence_s`, the relay lives as long
    as its input.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        _connect(sock, path)
        heard = time.monotonic()
        while True:
            left_s = None if silence_s is None else max(heard + silence_s - time.monotonic(), 0.0)
            readable, _, _ = select.select([0, sock.fileno()], [], [], left_s)
            if not readable:
                return
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
                heard = time.monotonic()


def _connect(sock: socket.socket, path: str) -> None:
    patience = time.monotonic() + BEGIN_S
    while True:
        try:
            sock.connect(path)
            return
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > patience:
                raise
        time.sleep(0.01)
