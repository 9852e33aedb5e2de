"""The two streams of a command in a container, over any way to a Docker daemon: a socket, TCP with or without TLS, SSH.

The daemon is asked for them as its API says (`POST /exec/{id}/start`, with an upgrade of the connection). The SDK hands
out such a stream as a blocking socket, after its HTTP client may have read ahead; here nothing blocks and nothing is
lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from urllib.parse import urlsplit

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.docker.endpoint import Endpoint
from rlm_graph.executors.host.stream import Writer

DIAL_TIMEOUT_S = 30.0
BUFFER_BYTES = 1 << 20
COMPLAINT_BYTES = 4096
STDERR = 2
HEADER_BYTES = 8
"""Before each piece: which output it is of, three bytes of nothing, and its length. Source: the API's `attach`."""


async def open_exec(endpoint: Endpoint, api_version: str, exec_id: str) -> tuple[ExecOutput, Writer]:
    """Start a command that was made ready, and return its output and its input.

    Raises `OSError` if the daemon cannot be reached, or says that the container or the command is not there any more;
    `ExecutorError` for anything else that it says.
    """
    async with asyncio.timeout(DIAL_TIMEOUT_S):
        reader, writer = await _dial(endpoint)
        try:
            status, words = await _upgrade(reader, writer, f"/v{api_version}/exec/{exec_id}/start")
        except BaseException:
            writer.close()
            raise
    if status not in (101, 200):
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        if status in (404, 409):
            raise ConnectionRefusedError(words)
        raise ExecutorError(f"Docker cannot start a command in the container: {words}")
    return ExecOutput(reader), writer


class ExecOutput:
    """What the command prints, taken out of the stream that carries both of its outputs."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._left = 0
        self._complaints = b""
        self._begun = False

    async def read(self, n: int) -> bytes:
        """Return some of its standard output, none at its end.

        Raises `ConnectionError` if the stream broke, if the daemon says in the command's place why that did not start,
        or if it ends after the command complained on its other output.
        """
        while not self._left:
            try:
                header = await self._reader.readexactly(HEADER_BYTES)
                length = int.from_bytes(header[4:], "big")
                if header[0] != STDERR:
                    self._left = length
                else:
                    self._complaints = (self._complaints + await self._reader.readexactly(length))[-COMPLAINT_BYTES:]
            except asyncio.IncompleteReadError:
                return self._end()
        data = await self._reader.read(min(n, self._left))
        self._left -= len(data)
        if data and not self._begun:
            self._begun = True
            if not data.startswith(b"{"):  # with what every frame begins
                raise ConnectionError(data.decode(errors="replace").strip().partition("\n")[0])
        return data

    def _end(self) -> bytes:
        last = self._complaints.decode(errors="replace").strip().splitlines()[-1:]
        if last:
            raise ConnectionError(last[0])
        return b""


async def _upgrade(reader: asyncio.StreamReader, writer: Writer, path: str) -> tuple[int, str]:
    """Ask for the streams. Returns the status, and the daemon's words if it refuses."""
    body = json.dumps({"Detach": False, "Tty": False})
    lines = [
        f"POST {path} HTTP/1.1", "Host: docker", "Connection: Upgrade", "Upgrade: tcp",
        "Content-Type: application/json", f"Content-Length: {len(body)}", "", body,
    ]  # fmt: skip
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ConnectionError("the Docker daemon hung up") from error
    status = int(head[0].split()[1])
    if status in (101, 200):
        return status, ""
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    with contextlib.suppress(asyncio.IncompleteReadError, ValueError):
        answer = await reader.readexactly(int(fields.get("content-length", 0)))
        return status, str(json.loads(answer)["message"])
    return status, head[0]


async def _dial(endpoint: Endpoint) -> tuple[asyncio.StreamReader, Writer]:
    parts = urlsplit(endpoint.url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path, limit=BUFFER_BYTES)
    if parts.scheme == "ssh":
        from rlm_graph.executors.docker.ssh import dial

        return await dial(endpoint.url, limit=BUFFER_BYTES)
    return await asyncio.open_connection(parts.hostname, parts.port, ssl=endpoint.tls_context(), limit=BUFFER_BYTES)
