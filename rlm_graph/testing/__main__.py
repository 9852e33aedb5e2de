"""The scripted server as a program: `python -m rlm_graph.testing`, see `rlm_graph.testing.server`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from rlm_graph.testing.script import Script, ScriptedRequest
from rlm_graph.testing.server import ScriptedServer

_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "cookie"})
_PARENT_CHECK_S = 0.5


def load_script(name: str) -> Script:
    """Return the script that `name` means: `package.module:attribute`, or `file.py[:attribute]`.

    The attribute is `script` unless named. Raises `SystemExit` with what is wrong.
    """
    source, _, attribute = name.rpartition(":") if ":" in name else (name, "", "script")
    try:
        if source.endswith(".py"):
            spec = importlib.util.spec_from_file_location("scripted", Path(source).resolve())
            if spec is None or spec.loader is None:
                raise ImportError(f"cannot load {source}")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, os.getcwd())
            module = importlib.import_module(source)
        return cast("Script", getattr(module, attribute))
    except (ImportError, AttributeError, OSError) as error:
        raise SystemExit(f"no script {name!r}: {error}") from error


def log_line(request: ScriptedRequest) -> str:
    """Return the request as one line of JSON, without the headers that carry keys."""
    headers = {name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS}
    entry: dict[str, Any] = {"number": request.number, "model": request.model, "headers": headers, "body": request.body}
    return json.dumps(entry) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM, SIGINT or the death of the process that started this one."""
    parser = argparse.ArgumentParser(prog="python -m rlm_graph.testing", description=__doc__)
    parser.add_argument("--script", required=True, help="module:attribute or file.py[:attribute]; default: script")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, help="append each request to this file, as a line of JSON, then answer it")
    options = parser.parse_args(arguments)
    parent = os.getppid()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with contextlib.ExitStack() as stack:
        script = load_script(options.script)
        try:
            server = ScriptedServer(script, port=options.port)
        except OSError as error:
            raise SystemExit(f"port {options.port}: {error.strerror}; --port 0 takes a free one") from error
        if options.log is not None:
            # Line-buffered and appended: a line is in the file before the reply leaves, even if we are killed then.
            log = stack.enter_context(options.log.open("a", buffering=1, encoding="ascii"))
            server.on_request(lambda request: log.write(log_line(request)) and None)
        stack.enter_context(server)
        print(f"scripted model (replies come from {options.script}, not from an LLM) at {server.url}", flush=True)
        while not ended.wait(_PARENT_CHECK_S) and os.getppid() == parent:
            continue


if __name__ == "__main__":
    main()
