"""The command as users meet it: in a process of its own, or in this one where the process is not the point."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rlm_graph.testing import ScriptedReply, ScriptedRequest, ScriptedServer

MODEL = "openai/gpt-4o-mini"
"""A name whose price litellm knows. The server that answers is scripted."""


def turns(*replies: str | ScriptedReply, subcall: str = "sub-answer") -> Callable[[ScriptedRequest], Any]:
    """A script: the root model's replies in the order of its turns; every sub-call is answered with `subcall`."""

    def script(request: ScriptedRequest) -> Any:
        roles = [message["role"] for message in request.messages]
        if "system" not in roles:
            return subcall
        return replies[min(roles.count("assistant"), len(replies) - 1)]

    return script


def code(text: str) -> str:
    """A reply that holds one cell."""
    return f"```repl\n{text}\n```"


@dataclass
class Shell:
    """A folder, an environment, and the command in it."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def db(self) -> Path:
        return self.folder / "data" / "runs.sqlite"

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, **self.variables, **more}

    def here(self, *args: object, input: str | bytes | None = None, **variables: str) -> Result:
        """Run the command in this process."""
        from rlm_graph.cli.app import app

        before = dict(os.environ)
        try:
            return CliRunner().invoke(
                app, [str(arg) for arg in args], input=input, env={**self.variables, **variables}, prog_name="rlm-graph"
            )
        finally:
            os.environ.clear()
            os.environ.update(before)

    def command(self, *args: object) -> list[str]:
        return [sys.executable, "-m", "rlm_graph", *map(str, args)]

    def run(
        self, *args: object, input: bytes | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command in a process of its own, with pipes for its streams."""
        return subprocess.run(
            self.command(*args),
            input=input,
            capture_output=True,
            cwd=self.folder,
            env=self.environment(**(env or {})),
            timeout=100,
        )


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, {"RLM_DATA_DIR": str(tmp_path / "data"), "OPENAI_API_KEY": "sk-test"})


@pytest.fixture
def serve(shell: Shell) -> Iterator[Callable[..., ScriptedServer]]:
    """Start a scripted server, which the shell's commands then ask."""
    servers: list[ScriptedServer] = []

    def start(*replies: str | ScriptedReply, script: Any = None, **options: Any) -> ScriptedServer:
        server = ScriptedServer(script or turns(*replies, **options)).start()
        servers.append(server)
        shell.variables |= {"RLM_MODEL": MODEL, "RLM_MODELS__BASE_URL": server.url, "RLM_MODELS__PROFILE": "standard"}
        return server

    yield start
    for server in servers:
        server.stop()
