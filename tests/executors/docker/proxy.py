"""A daemon elsewhere, as far as its clients can see."""

from __future__ import annotations

import asyncio
import contextlib
import ssl


class Proxy:
    """A way to the daemon that can be cut, and in which words of a request can be replaced."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, replaced: tuple[bytes, bytes] = (b"", b"")) -> None:
        self._tls = tls
        self._replaced = replaced
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.upgrades = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection("/var/run/docker.sock", limit=1 << 20)
        self._writers |= {writer, back}
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    self.upgrades += source is reader and b"Upgrade: tcp" in data
                    if source is reader and self._replaced[0]:
                        data = data.replace(*self._replaced)
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(carry(reader, back), carry(there, writer))
        self._serving.discard(task)
