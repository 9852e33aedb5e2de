"""Children over pieces of their parent's context: what travels, what is kept, and what a resumed run finds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import ContextStore
from rlm_graph.executors.conformance.notebook import Host, Notebook, stored
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.host.stream import Reader, Writer
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.executors.machine.folder import ReplFolder
from rlm_graph.state import ReplHandle
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import BuildAgent, repl

TEXT = "".join(f"line {number:09}\n" for number in range(100_000))
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


def is_child(messages: Sequence[BaseMessage]) -> bool:
    return any("the child's question" in message.text for message in messages if message.type == "human")


def texts(store: ContextStore) -> list[Path]:
    return [store.root / name / "text" for name in store.all()]


@pytest.mark.parametrize(
    ("piece", "found"),
    [
        ("context", TEXT),
        ("ctx.slice(15, 300_015)", TEXT[15:300_015]),
        ("ctx.chunk(500_000)[1]", TEXT[500_000:1_000_000]),
        ("context[7:1_200_007]", TEXT[7:1_200_007]),
    ],
)
async def test_a_child_has_its_piece_whole_and_no_copy_of_it_is_kept(
    agent: BuildAgent, contexts: ContextStore, piece: str, found: str
) -> None:
    def model(messages: Sequence[BaseMessage]) -> str:
        if is_child(messages):
            return repl("FINAL(f'{len(context)} {context[:20]} {context[-20:]} {type(context).__name__}')")
        return repl(f'FINAL(rlm_query("the child\'s question", {piece}))')

    result = await agent(model).ainvoke({"question": "Go.", "context": TEXT})

    [first, *others] = texts(contexts)
    assert result["answer"].value == f"{len(found)} {found[:20]} {found[-20:]} str"
    assert len(others) == (0 if found == TEXT else 1)
    assert all(os.path.samefile(first, other) for other in others)


async def test_a_grandchild_has_a_piece_of_the_piece(agent: BuildAgent, contexts: ContextStore) -> None:
    def model(messages: Sequence[BaseMessage]) -> str:
        if any("the grandchild's question" in message.text for message in messages if message.type == "human"):
            return repl("FINAL(str(len(context)) + context[:5])")
        if is_child(messages):
            return repl('FINAL(rlm_query("the grandchild\'s question", ctx.slice(100_000, 400_000)))')
        return repl('FINAL(rlm_query("the child\'s question", ctx.slice(500_000, 1_000_000)))')

    result = await agent(model).ainvoke({"question": "Go.", "context": TEXT})

    first, *others = texts(contexts)
    assert result["answer"].value == "300000" + TEXT[600_000:600_005]
    assert len(others) == 2
    assert all(os.path.samefile(first, other) for other in others)


async def test_what_was_answered_over_a_piece_is_not_asked_again_by_a_resumed_run(
    agent: BuildAgent, tmp_path: Path
) -> None:
    asked: list[str] = []

    def model(messages: Sequence[BaseMessage]) -> str | Exception:
        if is_child(messages):
            which = "first" if any("question, first" in message.text for message in messages) else "second"
            asked.append(which)
            if asked.count("second") == 1 and which == "second":
                return ZeroDivisionError("the host dies")
            return repl("FINAL(context[:14])")
        return repl(
            'first = rlm_query("the child\'s question, first", ctx.slice(15, 300_015))\n'
            'FINAL(first + rlm_query("the child\'s question, second", context[15:1_200_015]))'
        )

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        built = agent(ScriptedModel(model), checkpointer=saver)
        with pytest.raises(ZeroDivisionError):
            await built.ainvoke({"question": "Go.", "context": TEXT}, CONFIG)
        result = await built.ainvoke(None, CONFIG)

    assert result["answer"].value == "line 000000001" * 2
    assert asked == ["first", "second", "second"]


class CountingExecutor(LocalExecutor):
    """The local executor, which counts what comes out of its sandboxes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def repl(self, handle: ReplHandle, tools: Sequence[str] = ()) -> SupervisedRepl:
        place = ReplFolder(Path(handle.address))

        async def connect() -> tuple[Reader, Writer]:
            reader, writer = await place.connect()
            return Counting(reader, self), writer

        return SupervisedRepl(handle, connect, tools=tools)


class Counting:
    def __init__(self, reader: Reader, executor: CountingExecutor) -> None:
        self._reader, self._executor = reader, executor

    async def read(self, n: int) -> bytes:
        data = await self._reader.read(n)
        self._executor.bytes += len(data)
        return data


@pytest.mark.parametrize(
    "code",
    [
        "rlm_query_batched(['q'] * 10, [context] * 10)",
        "rlm_query_batched(['q'] * 16, ctx.chunk(100_000))",
        "[rlm_query('q', ctx.slice(start, start + 100_000)) for start in range(0, len(ctx), 100_000)]",
        "rlm_query('q', context[1:1_500_001]), llm_query(ctx.slice())",
        "rlm_query('q', {'a': ctx.slice(0, 700_000), 'b': ctx.slice(700_000)})",
    ],
)
async def test_nothing_of_a_context_comes_out_of_the_sandbox_that_hands_it_over(tmp_path: Path, code: str) -> None:
    executor = CountingExecutor()
    reference = stored(tmp_path / "context", TEXT)
    async with executor.attached(None) as attached:
        await attached.add_context(1, reference, folder=tmp_path / "context")
        host = Host(
            lambda call: (
                [{"text": "answer"}] * len(call.arguments["questions"])  # type: ignore[arg-type]
                if call.function.endswith("_batched")
                else "answer"
            )
        )

        execution = await Notebook(attached).run(f"{code}\nNone", serve=host)

    await executor.close(attached.handle)
    assert execution.error is None
    assert host.calls
    assert executor.bytes < 20_000
