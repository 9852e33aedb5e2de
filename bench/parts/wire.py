"""As much of HTTP/1.1 as clients need that send a length and no stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Answering(asyncio.Protocol):
    """Reads requests, one after another, and sends what `asked` has for each."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._held = bytearray()

    def data_received(self, data: bytes) -> None:
        self._held += data
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._held[:end]).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self._held) < end + 4 + length:
            return
        body = bytes(self._held[end + 4 : end + 4 + length])
        del self._held[: end + 4 + length]
        self.asked(head, body)

    def asked(self, head: bytes, body: bytes) -> None:
        """Do what there is to be done for a request: `send` its reply, now or later."""
        raise NotImplementedError

    def send(self, reply: bytes) -> bool:
        """Send a reply in JSON; False where nobody waits for it any more."""
        if self._transport.is_closing():
            return False
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply)
        self._transport.write(head + reply)
        return True


@contextmanager
def serving(kind: type[Answering]) -> Iterator[int]:
    """Serve on loopback in a thread of this process for as long as the block lasts. Yields the port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(kind, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()
