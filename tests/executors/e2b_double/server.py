"""A server that answers what E2B's SDK asks of the cloud, on loopback: the API, and the agent in each sandbox.

It keeps to the SDK's own forms: REST with a key for the API; for the agent files by HTTP and commands by the Connect
protocol, with the token of the sandbox. Commands are real processes, so that a real supervisor and worker run behind
the genuine SDK. It can also fail: refuse, hang up, fall silent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from tests.executors.e2b_double.sandbox import Event, Process, Sandbox
from tests.executors.e2b_double.wire import END, envelope, opened, refusal

KEY = "e2b_0123456789abcdef0123456789abcdef01234567"
TEMPLATES = ("base", "bare", "old")
"""With Python; without it; with it, on a kernel that has no Landlock."""
PAGE = 100
MAX_BODY = 256 << 20
SANDBOX = web.RequestKey("sandbox", Sandbox)

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(NamedTuple):
    """An answer in place of the right one."""

    path: str
    status: int | None
    """None for the right one after all."""
    words: str


class Stream(NamedTuple):
    """Somebody who listens to a command."""

    request: web.Request
    silent: asyncio.Event
    """Set when nothing more is to be heard."""


class E2BDouble:
    """The server, in a thread of its own. A context manager; `url` serves as `api_url` and as `sandbox_url`."""

    def __init__(self) -> None:
        self.sandboxes: dict[str, Sandbox] = {}
        self.requests: list[str] = []
        """Method and path of each, in the order they came."""
        self.created: list[dict[str, Any]] = []
        """What was asked of new sandboxes."""
        self.bodies: list[bytes] = []
        """What was sent to the agents, but for the content of files."""
        self.url = ""
        self._faults: list[Fault] = []
        self._streams: list[Stream] = []
        self._unreachable = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="e2b-double", daemon=True)

    def __enter__(self) -> E2BDouble:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # What a test does to it

    def fail(self, path: str, status: int, words: str = "for a test", *, times: int = 1, after: int = 0) -> None:
        """Answer the next requests whose method and path begin with `path` by an error, `after` some are answered."""
        self._faults += [Fault(path, None, "")] * after + [Fault(path, status, words)] * times

    def heal(self) -> None:
        """Answer rightly again."""
        self._faults.clear()
        self._unreachable = False

    def vanish(self) -> None:
        """Hang up on everybody, and on all who come until `heal`."""
        self._unreachable = True
        self.cut()

    def cut(self) -> None:
        """Hang up on all who listen to a command."""
        self._soon(lambda: [_abort(stream.request) for stream in self._streams])

    def fall_silent(self) -> None:
        """Let those who listen to a command hear nothing any more, without a word."""
        self._soon(lambda: [stream.silent.set() for stream in self._streams])

    def pause(self, sandbox_id: str) -> None:
        """Pause a sandbox, as when its time is over."""
        self._soon(lambda: self._pause(self.sandboxes[sandbox_id]))

    def kill(self, sandbox_id: str) -> None:
        """End a sandbox, as when its time is over and it is not to be paused."""
        self._do(self._end(self.sandboxes[sandbox_id]))

    def _soon(self, work: Callable[[], object]) -> None:
        async def do() -> None:
            work()

        self._do(do())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    # The server

    async def _open(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.post("/v2/sandboxes", self._create),
                web.get("/v2/sandboxes", self._list),
                web.post("/v2/sandboxes/{id}/connect", self._connect),
                web.get("/sandboxes/{id}", self._info),
                web.delete("/sandboxes/{id}", self._delete),
                web.post("/sandboxes/{id}/pause", self._pause_asked),
                web.post("/sandboxes/{id}/timeout", self._timeout),
                web.get("/sandboxes/{id}/metrics", self._metrics),
                web.get("/health", self._health),
                web.get("/files", self._read),
                web.post("/files", self._write),
                web.post("/filesystem.Filesystem/MakeDir", self._make_dir),
                web.post("/process.Process/Start", self._start),
                web.post("/process.Process/Connect", self._listen),
                web.post("/process.Process/List", self._processes),
                web.post("/process.Process/SendInput", self._input),
                web.post("/process.Process/CloseStdin", self._close_input),
                web.post("/process.Process/SendSignal", self._signal),
            ]
        )
        # A handler ends when its client hangs up: otherwise nobody notices until there is something to say.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._clock = asyncio.create_task(self._watch_times())

    async def _close(self) -> None:
        self._clock.cancel()
        for sandbox in list(self.sandboxes.values()):
            await self._end(sandbox)
        await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        name = f"{request.method} {request.path}"
        self.requests.append(name)
        if self._unreachable:
            _abort(request)
            return web.Response()
        fault = next((fault for fault in self._faults if name.startswith(fault.path)), None)
        if fault is not None:
            self._faults.remove(fault)
        if fault is not None and fault.status is not None:
            # As a gateway that knows nothing of retries would: the SDK then does not wait.
            return _error(fault.status, fault.words, {"Should-Retry": "false"})
        if request.path.startswith(("/v2/", "/sandboxes")):
            if request.headers.get("X-API-KEY") != KEY:
                return _error(401, f"Invalid API key {request.headers.get('X-API-KEY')}")
            return await handler(request)
        sandbox = self.sandboxes.get(request.headers.get("E2b-Sandbox-Id", ""))
        if sandbox is None or sandbox.paused:
            return _error(502, "The sandbox was not found")
        if request.headers.get("X-Access-Token") != sandbox.token:
            return _error(401, "no access")
        request[SANDBOX] = sandbox
        return await handler(request)

    async def _watch_times(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            for sandbox in list(self.sandboxes.values()):
                if not sandbox.paused and datetime.now(UTC) >= sandbox.end_at:
                    if sandbox.asked.get("autoPause"):
                        self._pause(sandbox)
                    else:
                        await self._end(sandbox)

    # The API

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["templateID"] not in TEMPLATES:
            return _error(404, f"template '{asked['templateID']}' not found")
        self.created.append(asked)
        sandbox = Sandbox(asked)
        sandbox.run_for(asked.get("timeout", 300))
        self.sandboxes[sandbox.id] = sandbox
        return web.json_response(sandbox.created(), status=201)

    async def _list(self, request: web.Request) -> web.Response:
        wanted = {unquote(key): unquote(value) for key, value in parse_qsl(request.query.get("metadata", ""))}
        found = [
            sandbox.told() for sandbox in self.sandboxes.values()
            if wanted.items() <= sandbox.asked.get("metadata", {}).items()
        ]  # fmt: skip
        first = int(request.query.get("nextToken", 0))
        more = {"x-next-token": str(first + PAGE)} if len(found) > first + PAGE else {}
        return web.json_response(found[first : first + PAGE], headers=more)

    async def _connect(self, request: web.Request) -> web.Response:
        sandbox = self._of(request)
        if sandbox is None:
            return _error(404, "no such sandbox")
        seconds = (await request.json()).get("timeout", 300)
        resumed = sandbox.paused
        if resumed:
            sandbox.paused = False
            sandbox.signal_all(signal.SIGCONT)
            sandbox.run_for(seconds)
        elif (sandbox.end_at - datetime.now(UTC)).total_seconds() < seconds:
            sandbox.run_for(seconds)
        return web.json_response(sandbox.created(), status=201 if resumed else 200)

    async def _info(self, request: web.Request) -> web.Response:
        sandbox = self._of(request)
        return _error(404, "no such sandbox") if sandbox is None else web.json_response(sandbox.told())

    async def _delete(self, request: web.Request) -> web.Response:
        sandbox = self._of(request)
        if sandbox is None:
            return _error(404, "no such sandbox")
        await self._end(sandbox)
        return web.Response(status=204)

    async def _pause_asked(self, request: web.Request) -> web.Response:
        sandbox = self._of(request)
        if sandbox is None:
            return _error(404, "no such sandbox")
        if sandbox.paused:
            return _error(409, "paused already")
        self._pause(sandbox)
        return web.Response(status=204)

    async def _timeout(self, request: web.Request) -> web.Response:
        sandbox = self._of(request)
        if sandbox is None or sandbox.paused:
            return _error(404, "no such sandbox")
        sandbox.run_for((await request.json())["timeout"])
        return web.Response(status=204)

    async def _metrics(self, request: web.Request) -> web.Response:
        sandbox = self._of(request)
        if sandbox is None:
            return _error(404, "no such sandbox")
        now = datetime.now(UTC)
        seen = {
            "timestamp": now.isoformat(), "timestampUnix": int(now.timestamp()), "cpuCount": 2, "cpuUsedPct": 50.0,
            "memUsed": sandbox.memory_used(), "memTotal": 1 << 30, "memCache": 0, "diskUsed": 0, "diskTotal": 1 << 30,
        }  # fmt: skip
        return web.json_response([seen])

    def _of(self, request: web.Request) -> Sandbox | None:
        return self.sandboxes.get(request.match_info["id"])

    def _pause(self, sandbox: Sandbox) -> None:
        sandbox.paused = True
        sandbox.paused_times += 1
        sandbox.signal_all(signal.SIGSTOP)
        self._hang_up_on(sandbox)

    async def _end(self, sandbox: Sandbox) -> None:
        if self.sandboxes.pop(sandbox.id, None) is not None:
            self._hang_up_on(sandbox)
            await sandbox.end()

    def _hang_up_on(self, sandbox: Sandbox) -> None:
        for stream in self._streams:
            if stream.request[SANDBOX] is sandbox:
                _abort(stream.request)

    # The agent: files

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _read(self, request: web.Request) -> web.StreamResponse:
        path = request[SANDBOX].path(request.query["path"])
        return web.FileResponse(path) if path.is_file() else _error(404, f"there is no {path}")

    async def _write(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/octet-stream"
        path = request[SANDBOX].path(request.query["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            async for data in request.content.iter_chunked(1 << 20):
                file.write(data)
        return web.json_response([{"name": path.name, "type": "file", "path": str(path)}])

    async def _make_dir(self, request: web.Request) -> web.Response:
        path = request[SANDBOX].path((await self._asked(request))["path"])
        if path.exists():
            return refusal("already_exists", f"{path} is there")
        path.mkdir(parents=True)
        return web.json_response({"entry": {"name": path.name, "type": "FILE_TYPE_DIRECTORY", "path": str(path)}})

    # The agent: commands

    async def _start(self, request: web.Request) -> web.StreamResponse:
        asked = await self._asked(request, stream=True)
        user = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode().rstrip(":")
        timeout_ms = request.headers.get("Connect-Timeout-Ms")
        process = await request[SANDBOX].start(
            asked["process"], user=user, stdin=asked.get("stdin", True),
            timeout_s=int(timeout_ms) / 1000 if timeout_ms else None,
        )  # fmt: skip
        return await self._stream(request, process)

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        process = self._process(request, await self._asked(request, stream=True))
        if process is None:
            words = {"error": {"code": "not_found", "message": "no such process"}}
            response = await _prepared(request)
            await response.write(envelope(words, END))
            return response
        return await self._stream(request, process)

    async def _stream(self, request: web.Request, process: Process) -> web.StreamResponse:
        stream = Stream(request, asyncio.Event())
        self._streams.append(stream)
        try:
            async with contextlib.aclosing(process.events()) as events:
                first = await anext(events)  # listens before anything can be missed
                response = await _prepared(request)
                await response.write(envelope({"event": first}))
                await self._carry(events, response, stream.silent)
            return response
        except ConnectionError:  # the client has hung up
            return web.Response()
        finally:
            self._streams.remove(stream)

    async def _carry(self, events: AsyncIterator[Event], response: web.StreamResponse, silent: asyncio.Event) -> None:
        async for event in events:
            if not silent.is_set():
                await response.write(envelope({"event": event}))
        if silent.is_set():
            await asyncio.Event().wait()
        await response.write(envelope({}, END))

    async def _processes(self, request: web.Request) -> web.Response:
        living = [each for each in request[SANDBOX].processes.values() if each.process.returncode is None]
        return web.json_response({"processes": [{"pid": each.pid, "config": each.config} for each in living]})

    async def _input(self, request: web.Request) -> web.Response:
        asked = await self._asked(request)
        process = self._process(request, asked)
        if process is None or process.process.stdin is None:
            return refusal("not_found", "no such process, or none with an input")
        process.process.stdin.write(base64.b64decode(asked["input"]["stdin"]))
        await process.process.stdin.drain()
        return web.json_response({})

    async def _close_input(self, request: web.Request) -> web.Response:
        process = self._process(request, await self._asked(request))
        if process is None or process.process.stdin is None:
            return refusal("not_found", "no such process, or none with an input")
        process.process.stdin.close()
        return web.json_response({})

    async def _signal(self, request: web.Request) -> web.Response:
        asked = await self._asked(request)
        process = self._process(request, asked)
        if process is None:
            return refusal("not_found", "no such process")
        os.kill(process.pid, getattr(signal, asked["signal"].removeprefix("SIGNAL_")))
        return web.json_response({})

    def _process(self, request: web.Request, asked: dict[str, Any]) -> Process | None:
        process: Process | None = request[SANDBOX].processes.get(asked["process"]["pid"])
        return None if process is None or process.process.returncode is not None else process

    async def _asked(self, request: web.Request, *, stream: bool = False) -> dict[str, Any]:
        body = await request.read()
        self.bodies.append(body)
        asked: dict[str, Any] = opened(body) if stream else json.loads(body)
        return asked


async def _prepared(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/connect+json"})
    await response.prepare(request)
    return response


def _error(status: int, words: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"code": status, "message": words}, status=status, headers=headers)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
