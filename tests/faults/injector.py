"""Makes the host of a run tell its fuse of every event, so that it can be killed at each of them.

An event of the host is one of these:
  - the rows of a transaction of the database are written, and it is about to be committed;
  - a frame was sent to the supervisor of a REPL, or came from it and has not been looked at yet;
  - a folder is about to be made or removed, a process started, a socket connected.
Those of the model's server are a request that came in and a reply of which half is sent; see `script.py`.
"""

from __future__ import annotations

import functools
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

from rlm_graph.executors import folder as folders
from rlm_graph.executors.repl import SupervisedRepl
from rlm_graph.executors.worker.frames import Frame
from tests.faults.fuse import Fuse

_STEPS = {"os.mkdir": "mkdir", "shutil.rmtree": "rmtree", "subprocess.Popen": "start"}


def arm(folder: Path) -> None:
    """Tell the fuse in `folder` of every event of this process from now on."""
    fuse = Fuse(folder)
    fuse.live()

    def statement(text: str) -> None:
        if text.startswith("COMMIT"):
            fuse.happened("commit")

    def step(event: str, given: tuple[Any, ...]) -> None:
        if event in _STEPS and str(folder) in str(given):
            fuse.happened(_STEPS[event])
        elif event == "socket.connect" and given[0].family == socket.AF_UNIX:
            fuse.happened("connect")

    class Traced(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_trace_callback(statement)

    class Watched(SupervisedRepl):
        async def _send(self, frame: Frame) -> None:
            await super()._send(frame)
            fuse.happened(f"frame out {frame['op']}")

        def _sort(self, frame: Frame) -> None:
            fuse.happened(f"frame in {frame.get('ev')}")
            super()._sort(frame)

    sys.addaudithook(step)
    sqlite3.connect = functools.partial(sqlite3.connect, factory=Traced)
    folders.SupervisedRepl = Watched  # type: ignore[misc]  # the one seam between the executor and its frames
