"""A model server for tests and demonstrations: it speaks OpenAI's HTTP protocol and answers by a script.

In a test, on loopback and at a free port:

    with ScriptedServer(["hello"]) as server:
        model = chat_model("openai/gpt-4o-mini", ModelSettings(base_url=server.url))

As a program, for a process that is to be killed while another one holds the script and the count:

    python -m rlm_graph.testing --script my_script.py --log requests.jsonl
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from rlm_graph.testing.script import Script, ScriptedReply, ScriptedRequest, reply_to
from rlm_graph.testing.wire import CREATED, completion, stream_events


class Hold:
    """A request that the server keeps waiting. It has been recorded, and nothing of the reply has been sent."""

    def __init__(self, matches: Callable[[ScriptedRequest], bool]) -> None:
        self.matches = matches
        self.reached = threading.Event()
        """Set when the request has come in."""
        self.released = threading.Event()
        """Set it, or call `release`, to let the server answer."""

    def wait(self, timeout_s: float = 30.0) -> None:
        """Block until the request has come in. Raises `TimeoutError`."""
        if not self.reached.wait(timeout_s):
            raise TimeoutError(f"no request to hold came in {timeout_s:g} s")

    def release(self) -> None:
        """Let the server answer."""
        self.released.set()


class ScriptedServer:
    """An OpenAI-compatible server on loopback whose model is a script.

    It serves `POST /v1/chat/completions` (plain and streamed), `GET /v1/models` and `GET /health`; the `/v1` may be
    left out. Every request for a completion is counted and kept before it is answered. Use it as a context manager;
    all its methods may be called from any thread.
    """

    def __init__(self, script: Script, *, port: int = 0, models: tuple[str, ...] = ("scripted",)) -> None:
        self.script = script
        self.models = models
        self._requests: list[ScriptedRequest] = []
        self._holds: list[Hold] = []
        self._arrived = threading.Condition()
        self._http = _Listener(("127.0.0.1", port), _Handler)
        self._http.scripted = self
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[ScriptedRequest], None]] = []

    @property
    def url(self) -> str:
        """The base URL that clients are given; it ends in `/v1`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def requests(self) -> list[ScriptedRequest]:
        """All requests so far, in order of arrival."""
        with self._arrived:
            return list(self._requests)

    @property
    def count(self) -> int:
        """How many requests have come in."""
        return len(self._requests)

    @property
    def connections(self) -> int:
        """How many connections were opened."""
        return self._http.opened

    def requests_like(self, matches: Callable[[ScriptedRequest], bool]) -> list[ScriptedRequest]:
        """Return the requests for which `matches` is true."""
        return [request for request in self.requests if matches(request)]

    def wait_for(self, count: int, timeout_s: float = 30.0) -> None:
        """Block until `count` requests have come in. Raises `TimeoutError`."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._requests) >= count, timeout_s):
                raise TimeoutError(f"{len(self._requests)} of {count} requests came in {timeout_s:g} s")

    def on_request(self, listener: Callable[[ScriptedRequest], None]) -> None:
        """Call `listener` with each further request, in the server's thread, before it is answered."""
        self._listeners.append(listener)

    @contextmanager
    def holding(self, which: int | Callable[[ScriptedRequest], bool]) -> Iterator[Hold]:
        """Keep the requests of that number, or those that match, waiting until released; at the latest on leaving."""
        hold = Hold(which if callable(which) else lambda request: request.number == which)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            hold.release()
            self._holds.remove(hold)

    def start(self) -> Self:
        """Serve in a thread of its own. The port is bound already: a client may connect at once."""
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Release what is held, cut open connections and free the port. Idempotent."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _answer(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[ScriptedRequest, ScriptedReply]:
        with self._arrived:
            request = ScriptedRequest(len(self._requests) + 1, body, headers)
            # Told under the lock: a log then has the requests in the order of their numbers.
            for listener in self._listeners:
                listener(request)
            self._requests.append(request)
            self._arrived.notify_all()
        for hold in [hold for hold in list(self._holds) if hold.matches(request)]:
            hold.reached.set()
            self._http.wait(hold.released)
        reply = reply_to(self.script, request)
        if reply.gate is not None and reply.stall_after is None:
            self._http.wait(reply.gate)
        if reply.delay_s:
            self._http.stopping.wait(reply.delay_s)
        return request, reply


class _Listener(ThreadingHTTPServer):
    """Each connection has a thread; they end with the process, and are told when the server stops."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    scripted: ScriptedServer

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.stopping = threading.Event()
        self._gates: set[threading.Event] = set()
        self._open: set[socket.socket] = set()
        self.opened = 0
        super().__init__(address, handler)

    def wait(self, gate: threading.Event) -> None:
        """Block until `gate` is set. The server sets it when it stops."""
        self._gates.add(gate)
        if not self.stopping.is_set():
            gate.wait()
        self._gates.discard(gate)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self.opened += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self.stopping.set()
        for gate in list(self._gates):
            gate.set()
        for connection in list(self._open):
            self.shutdown_request(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up in the middle of a reply is part of many a script."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two small packets: without this, each reply waits 40 ms for the first to be acknowledged.
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a test's output is its own."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/v1").rstrip("/")
        if path == "/health":
            self._send_json(200, {"status": "ok", "scripted": True})
        elif path == "/models":
            models = [
                {"id": name, "object": "model", "created": CREATED, "owned_by": "script"}
                for name in self.server.scripted.models
            ]
            self._send_json(200, {"object": "list", "data": models})
        else:
            self._send_json(404, _wire_error(f"no such path: {self.path}"))

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.partition("?")[0].removeprefix("/v1").rstrip("/") != "/chat/completions":
            self._send_json(404, _wire_error(f"no such path: {self.path}"))
            return
        try:
            body = json.loads(content)
        except ValueError as error:
            self._send_json(400, _wire_error(f"the request is not JSON: {error}"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request, reply = self.server.scripted._answer(body, headers)
        if reply.raw is not None:
            self._send(reply.status, reply.raw, reply.headers)
        elif reply.status != 200:
            self._send_json(reply.status, reply.error_body, reply.headers)
        elif request.stream and not reply.whole:
            self._send_stream(request, reply)
        elif reply.drop_after is not None:
            self._cut()
        else:
            self._send_json(200, completion(request, reply), reply.headers)

    def _send_json(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        # ASCII: a lone surrogate has no UTF-8, but JSON has an escape for it.
        self._send(status, json.dumps(body).encode("ascii"), headers or {})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_stream(self, request: ScriptedRequest, reply: ScriptedReply) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for position, event in enumerate(stream_events(request, reply)):
            # The first event opens the message and holds no text.
            if reply.drop_after is not None and position > reply.drop_after:
                self._cut()
                return
            if reply.close_after is not None and position > reply.close_after:
                self._send_chunk(b"")
                return
            if reply.stall_after is not None and position == reply.stall_after + 1:
                self.server.wait(reply.gate or threading.Event())
            self._send_chunk(f"data: {json.dumps(event)}\n\n".encode("ascii"))
        self._send_chunk(b"data: [DONE]\n\n")
        self._send_chunk(b"")

    def _send_chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _wire_error(message: str) -> dict[str, Any]:
    return ScriptedReply(error=message).error_body
