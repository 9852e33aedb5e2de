"""A process that has imported all that the command needs, and forks one that runs it: `python -m tests.faults.nursery`.

Importing litellm takes seconds; a fork takes milliseconds. What is forked is a real process of its own, in a session of
its own, with its own environment and streams. Orders come on stdin and news go out on stdout, as lines of JSON.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import sys
import tempfile
from pathlib import Path
from typing import Any

NEEDED = (
    "docker", "filelock", "langchain_litellm", "langgraph.checkpoint.postgres.aio", "langgraph.checkpoint.sqlite.aio",
    "openai.resources", "openai.types.chat", "platformdirs", "rich.console", "rlm_graph.cli.app",
    "rlm_graph.agents.create", "rlm_graph.cli.session", "rlm_graph.executors.docker", "rlm_graph.executors.local",
    "rlm_graph.runs.service", "rlm_graph.settings.sources", "rlm_graph.storage.runs", "rlm_graph.testing",
)  # fmt: skip
"""Modules that the command imports late, seconds in all."""


def main() -> None:
    """Fork a command for each line on stdin: tell its process id and, once it has ended, its exit status."""
    _import_everything()
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    print(json.dumps({"ready": True}), flush=True)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                selector.unregister(key.fd)
                os.close(key.fd)
                _, status = os.waitpid(key.data, 0)
                print(json.dumps({"ended": key.data, "status": os.waitstatus_to_exitcode(status)}), flush=True)
                continue
            line = sys.stdin.readline()
            if not line:
                return
            pid = _fork(json.loads(line))
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            print(json.dumps({"started": pid}), flush=True)


def _import_everything() -> None:
    os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
    from rlm_graph.models.library import load_litellm

    # What it loads with its first request, half a second in all.
    load_litellm().token_counter(model="gpt-4o-mini", text="warm")
    for name in NEEDED:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads cannot be forked safely"
    gc.freeze()


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        _become(order)
        code = _run(order)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _become(order: dict[str, Any]) -> None:
    os.setsid()
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, order["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.closerange(3, 256)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    tempfile.tempdir = None  # found anew, from the new environment
    sys.argv = ["rlm-graph", *order["args"]]


def _run(order: dict[str, Any]) -> int:
    command = importlib.import_module(order["module"]).main
    if order["fuse"]:
        from tests.faults.injector import arm

        arm(Path(order["fuse"]))
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    main()
