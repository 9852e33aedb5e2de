"""The context is in the store and in the REPL, and nowhere else: not in a checkpoint, a log line or a trace."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph.agents.graph import RLMGraph
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
NEEDLE = "needle-7f3a"
SIZE = 50_000_000


class Tracer(BaseTracer):
    """Keeps what a tracing service would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def _persist_run(self, run: Run) -> None:
        self.sent.append(run.model_dump_json(fallback=repr) if hasattr(run, "model_dump_json") else repr(run))


@pytest.mark.parametrize("form", ["text", "path"])
async def test_fifty_megabytes_leave_no_trace(
    agent: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    text = (f"{NEEDLE} {'x' * 80}\n" * (SIZE // 93))[:SIZE]
    path = tmp_path / "long.txt"
    path.write_text(text)
    tracer = Tracer()
    code = "ctx.find('needle', limit=3)\nn = context.count('needle')\nprint(n, llm_query('count: ' + str(n)))"
    config: Any = {"configurable": {"thread_id": "a run"}, "callbacks": [tracer]}
    with caplog.at_level(logging.DEBUG):
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
            graph = agent([repl(code), repl("FINAL(n)")], sub=["noted"], checkpointer=saver)
            result = await graph.ainvoke({"question": "How many?", "context": path if form == "path" else text}, config)

    stored = b"".join(file.read_bytes() for file in tmp_path.glob("runs.sqlite*") if file.is_file())
    traced = "\n".join(tracer.sent)
    assert result["answer"].value == text.count("needle")
    assert b"How many?" in stored
    assert "How many?" in traced
    for place in (stored.decode("latin-1"), traced, caplog.text):
        assert NEEDLE not in place
    assert len(stored) < SIZE / 50
