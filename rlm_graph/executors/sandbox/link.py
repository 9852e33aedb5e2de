"""A connection that carries frames and never blocks: neither a slow owner nor a stuck worker stops a supervisor."""

from __future__ import annotations

import os
import select
import socket
from array import array
from collections import deque
from collections.abc import Iterator, Sequence

from rlm_graph.executors.sandbox.frames import Frame, Splitter, encode

RECEIVE_BYTES = 1 << 20
AT_ONCE = 16
"""Receptions in a row, before others have their turn."""


class Link:
    """One end of a stream socket. A frame that it receives holds at most `max_items` values."""

    def __init__(self, sock: socket.socket, *, max_items: int | None = None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.ended = False
        self._splitter = Splitter(max_items=max_items)
        self._unsent: deque[tuple[memoryview, Sequence[int]]] = deque()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the frames that wait until the one before them is sent."""
        return sum(len(data) for data, _ in self._unsent) - (len(self._unsent[0][0]) if self._unsent else 0)

    @property
    def wants_to_send(self) -> bool:
        """Whether something waits until the socket takes more."""
        return bool(self._unsent)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way, in either direction."""
        waiting = select.poll()
        waiting.register(self.sock, select.POLLIN)
        return not self._unsent and not waiting.poll(0)

    def receive(self) -> Iterator[Frame]:
        """Yield the frames that have come in, and note in `ended` whether the other side is gone.

        Raises `FrameError`, after the frames that came before it: what was said in good form holds.
        """
        for _ in range(AT_ONCE):
            try:
                data = self.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.ended = True
                return
            yield from self._splitter.feed(data)

    def send(self, frame: Frame, descriptors: Sequence[int] = ()) -> None:
        """Send a frame as soon as the socket takes it, with `descriptors`, which are closed here afterwards."""
        self.send_line(encode(frame), descriptors)

    def send_line(self, line: bytes | memoryview, descriptors: Sequence[int] = ()) -> None:
        """Send a frame that is encoded already."""
        self._unsent.append((memoryview(line), descriptors))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now. A connection that has ended is found out by `receive`."""
        while self._unsent:
            data, descriptors = self._unsent[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
            try:
                sent = self.sock.sendmsg([data], rights)
            except BlockingIOError:
                return
            except OSError:
                self._forget()
                return
            for descriptor in descriptors:
                os.close(descriptor)
            if sent < len(data):
                self._unsent[0] = (data[sent:], ())
            else:
                self._unsent.popleft()

    def close(self) -> None:
        """Close the connection. What is unsent is lost."""
        self._forget()
        self.sock.close()

    def _forget(self) -> None:
        for _, descriptors in self._unsent:
            for descriptor in descriptors:
                os.close(descriptor)
        self._unsent.clear()
