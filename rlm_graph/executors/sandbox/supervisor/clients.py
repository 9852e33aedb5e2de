"""Who is connected to a supervisor: the owner of the REPL, and those who only look how it is."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from rlm_graph.executors.sandbox.frames import Frame, FrameError, encode
from rlm_graph.executors.sandbox.link import Link

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Client(Link):
    """A process that is connected."""

    following = False
    """Whether it wants to be told what the running cell does."""
    is_owner = False
    """Whether it uses the REPL, and does not only look how it is."""

    def reply(self, re: Any, **content: Any) -> None:
        """Answer its request."""
        self.send({"ev": "reply", "re": re, **content})

    def refuse(self, re: Any, message: str, **content: Any) -> None:
        """Say why its request cannot be met."""
        self.send({"ev": "error", "re": re, "message": message, **content})


class Clients:
    """Accepts the processes of this user, and no others; hands each of their requests to `serve`."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        *,
        serve: Callable[[Client, Frame], None],
        left: Callable[[Client], None],
    ) -> None:
        """`left` is told of a client that is gone."""
        self._clients: set[Client] = set()
        self._listener = listener
        self._selector = selector
        self._serve = serve
        self._left = left
        self._alone_since: float | None = time.monotonic()
        listener.setblocking(False)
        selector.register(listener, READ, self._accept)

    @property
    def alone_since(self) -> float | None:
        """Since when no owner is connected (monotonic); None if one is."""
        return self._alone_since

    def tell(self, frame: Frame) -> None:
        """Send a frame to those who follow the running cell."""
        self.tell_line(encode(frame))

    def tell_line(self, line: bytes) -> None:
        """Send a frame that is encoded already to those who follow the running cell."""
        for client in self._clients:
            if client.following:
                client.send_line(line)

    def unfollow(self) -> None:
        """Note that the cell they followed is over."""
        for client in self._clients:
            client.following = False

    def watch(self) -> None:
        """Have the selector tell when a client can take what is unsent."""
        for client in self._clients:
            events = READ | (WRITE if client.wants_to_send else 0)
            if self._selector.get_key(client.sock).events != events:
                self._selector.modify(client.sock, events, self._hearing(client))

    def close(self) -> None:
        """Close all connections. The clients see by it that the supervisor has ended."""
        for client in self._clients:
            client.close()
        self._listener.close()

    def _accept(self, _: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has given up already
            return
        if not _is_of_this_user(sock):
            sock.close()
            return
        client = Client(sock)
        self._clients.add(client)
        self._selector.register(sock, READ, self._hearing(client))

    def _hearing(self, client: Client) -> Callable[[int], None]:
        return lambda _: self._hear(client)

    def _hear(self, client: Client) -> None:
        client.flush()
        try:
            for frame in client.receive():
                self._take(client, frame)
        except FrameError as error:
            client.refuse(None, str(error))
            client.ended = True
        if client.ended:
            self._drop(client)

    def _take(self, client: Client, frame: Frame) -> None:
        if frame.get("op") != "look":
            client.is_owner = True
            self._alone_since = None
        try:
            self._serve(client, frame)
        except (KeyError, TypeError, ValueError, OSError) as error:
            reason = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            client.refuse(frame.get("re"), reason)

    def _drop(self, client: Client) -> None:
        self._clients.discard(client)
        self._selector.unregister(client.sock)
        client.close()
        if client.is_owner and not any(other.is_owner for other in self._clients):
            self._alone_since = time.monotonic()
        self._left(client)


def _is_of_this_user(sock: socket.socket) -> bool:
    """Whether the kernel says so, or it is root. Where it cannot say, the folder's mode keeps others out."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in (os.geteuid(), 0)
