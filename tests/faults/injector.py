"""Makes the host of a run tell its fuse of every event, so that it can be killed at each of them.

An event of the host is one of these:
  - the rows of a transaction of the database are written, and it is about to be committed;
  - a frame was sent to the supervisor of a REPL, or came from it and has not been looked at yet;
  - a folder is about to be made or removed, the fork server started or asked for a REPL, a socket connected;
  - the Docker daemon is about to be told to change something. That a container starts is called what it is for any
    other sandbox: a start.
Those of the model's server are a request that came in and a reply of which half is sent; see `script.py`.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import sqlite3
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlm_graph.executors.host.link import SupervisorLink
from rlm_graph.executors.machine.fork_server import FORK_SERVER
from rlm_graph.executors.sandbox.frames import Frame
from tests.faults.fuse import Fuse
from tests.faults.places import Containers

_STEPS = {"os.mkdir": "mkdir", "shutil.rmtree": "rmtree", "subprocess.Popen": "spawn"}
CLOCK = "TESTS_CLOCK_S"
"""The variable that tells a host by how many seconds its clock is wrong."""
_ORDER = re.compile(rb"(POST|PUT|DELETE) \S*/containers/(\w+)(?:/(\w+))?(?:\?\S*?\bname=([\w-]+))?")
"""A request to the Docker daemon that changes something: its method, a container or `create`, what to do, a name."""


def set_clock(off_s: float) -> None:
    """Have the clock of this process, from which LangGraph makes the ids of checkpoints, be wrong by so much."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + off_s
    time.time_ns = lambda: right_ns() + int(off_s * 1e9)


def arm(folder: Path) -> None:
    """Tell the fuse in `folder` of every event of this process from now on."""
    fuse = Fuse(folder)
    fuse.live()
    set_clock(float(os.environ.get(CLOCK, "0")))

    def statement(text: str) -> None:
        if text.startswith("COMMIT"):
            fuse.happened("commit")

    def step(event: str, given: tuple[Any, ...]) -> None:
        if event in _STEPS and str(folder) in str(given):
            fuse.happened(_STEPS[event])
        elif event == "socket.connect" and given[0].family == socket.AF_UNIX:
            fuse.happened("connect")
        elif event == "http.client.send" and isinstance(given[1], bytes) and (order := _ORDER.match(given[1])):
            method, container, what, name = (part.decode() for part in order.groups(default=b""))
            if name:
                Containers.note(folder, name)
            what = "remove" if method == "DELETE" else what or container
            fuse.happened("start" if what == "start" else f"daemon {what}")

    class Traced(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_trace_callback(statement)

    send, sort = SupervisorLink.send, SupervisorLink._sort

    async def watched_send(self: SupervisorLink, frame: Frame) -> None:
        await send(self, frame)
        fuse.happened(f"frame out {frame['op']}")

    def watched_sort(self: SupervisorLink, frame: Frame) -> None:
        fuse.happened(f"frame in {frame.get('ev')}")
        sort(self, frame)

    fork = FORK_SERVER.start

    def watched_start(settings: Mapping[str, object]) -> dict[str, Any]:
        fuse.happened("start")
        return fork(settings)

    sys.addaudithook(step)
    sqlite3.connect = functools.partial(sqlite3.connect, factory=Traced)
    FORK_SERVER.start = watched_start  # type: ignore[method-assign]  # Python has no event for it
    # The one class that every executor's frames go through.
    SupervisorLink.send, SupervisorLink._sort = watched_send, watched_sort  # type: ignore[method-assign]
