"""What a turn costs, in counts: transactions, checkpoints, bytes of the database, messages that are looked at."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, Budget, Caps, ModelError
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.langgraph_internals import strict_serializer
from rlm_graph.state import STORED_TYPES, ReplHandle
from rlm_graph.storage.group_commit import GroupCommit
from rlm_graph.storage.sqlite_saver import GroupedSqliteSaver
from rlm_graph.testing import ScriptedExecutor
from rlm_graph.testing.cells import Final, Output
from tests.graphs.conftest import repl
from tests.graphs.test_resume import Flaky

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


def cells(code: str) -> list[Any]:
    """Say what any cell does: it prints a line, or gives the answer."""
    return [Final(1)] if "FINAL" in code else [Output("a line")]


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[GroupCommit]:
    async with GroupCommit(tmp_path / "runs.sqlite", busy_timeout_s=5, held_s=600) as writer:
        yield writer


@pytest.fixture
async def saver(tmp_path: Path, writer: GroupCommit) -> AsyncIterator[GroupedSqliteSaver]:
    """The saver of the database of runs, which holds what it may hold for as long as the test takes."""
    async with aiosqlite.connect(tmp_path / "runs.sqlite") as connection:
        saver = GroupedSqliteSaver(connection, writer, serde=strict_serializer(STORED_TYPES))
        await saver.setup()
        yield saver


async def statements(writer: GroupCommit) -> list[str]:
    """Return a list to which each statement of the connection that writes is added as it is executed."""
    said: list[str] = []
    await writer.using(lambda connection: connection.set_trace_callback(said.append))
    return said


async def run(agent: Build, saver: Any, turns: int, reply: str = repl("n = 1")) -> RLMGraph:
    graph = agent(
        [*[reply] * turns, repl("FINAL(1)")],
        checkpointer=saver,
        executor=ScriptedExecutor(cells),
        budget=Budget(max_turns=turns + 1),
        options=AgentOptions(caps=Caps(max_turns=None)),
    )
    await graph.ainvoke({"question": "Go.", "context": "text"}, CONFIG)
    return graph


async def test_a_turn_whose_reply_comes_at_once_is_one_transaction(
    agent: Build, saver: GroupedSqliteSaver, writer: GroupCommit
) -> None:
    said = await statements(writer)

    await run(agent, saver, 20)

    kinds = Counter(statement.partition(" (")[0] for statement in said)
    assert kinds["INSERT OR REPLACE INTO checkpoints"] == 3 + 3 * 21  # two of the input, three a turn, the end
    assert said.count("COMMIT") == 3 + 21 + 1  # two of the input, one a turn, the last cell's, the end


async def test_a_reply_is_on_disk_before_its_code_runs(agent: Build, saver: GroupedSqliteSaver, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class Looking(ScriptedExecutor):
        def attached(self, *given: Any, **options: Any) -> Any:
            with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as another:
                rows = another.execute("SELECT channel FROM writes ORDER BY rowid").fetchall()
            seen.append([channel for (channel,) in rows])
            return super().attached(*given, **options)

    graph = agent([repl("n = 1"), repl("n = 2"), repl("FINAL(1)")], checkpointer=saver, executor=Looking(cells))
    await graph.ainvoke({"question": "Go."}, CONFIG)

    assert [channels.count("cells") for channels in seen] == [2, 4, 6]
    assert all(channels[-1] == "branch:to:act" for channels in seen)


async def test_an_answer_is_on_disk_before_its_repl_is_closed(
    agent: Build, saver: GroupedSqliteSaver, tmp_path: Path
) -> None:
    seen: list[int] = []

    class Looking(ScriptedExecutor):
        async def close(self, handle: ReplHandle) -> None:
            with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as another:
                [(turns,)] = another.execute("SELECT count(*) FROM writes WHERE channel = 'turns'").fetchall()
            seen.append(turns)
            await super().close(handle)

    graph = agent([repl("n = 1"), repl("FINAL(1)")], checkpointer=saver, executor=Looking(cells))
    await graph.ainvoke({"question": "Go."}, CONFIG)

    assert seen == [2]


async def test_all_is_on_disk_once_a_stream_was_left(agent: Build, saver: GroupedSqliteSaver, tmp_path: Path) -> None:
    graph = agent([repl("n = 1")] * 9, checkpointer=saver, executor=ScriptedExecutor(cells))
    stream: Any = graph.astream({"question": "Go."}, CONFIG, stream_mode="updates")
    acts = 0
    async for part in stream:
        acts += "act" in part
        if acts == 2:
            break
    await stream.aclose()

    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as another:
        [(turns,)] = another.execute("SELECT count(*) FROM writes WHERE channel = 'turns'").fetchall()
    assert turns == 2
    assert len((await graph.aget_state(CONFIG)).values["turns"]) == 2


async def test_all_is_on_disk_once_a_stream_was_left_by_another_thread_than_that_of_the_loop(
    agent: Build, saver: GroupedSqliteSaver, tmp_path: Path
) -> None:
    graph = agent([repl("n = 1")] * 9, checkpointer=saver, executor=ScriptedExecutor(cells))

    def leave() -> int:
        stream: Any = graph.stream({"question": "Go."}, CONFIG, stream_mode="updates")
        acts = 0
        for part in stream:
            acts += "act" in part
            if acts == 2:
                break
        stream.close()
        with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as another:
            [(turns,)] = another.execute("SELECT count(*) FROM writes WHERE channel = 'turns'").fetchall()
        return int(turns)

    assert await asyncio.to_thread(leave) == 2


async def test_who_asks_for_the_state_of_a_run_sees_what_is_not_on_disk_yet(
    agent: Build, saver: GroupedSqliteSaver
) -> None:
    graph = agent([repl("n = 1")] * 9, checkpointer=saver, executor=ScriptedExecutor(cells))
    stream: Any = graph.astream({"question": "Go."}, CONFIG, stream_mode="updates")
    seen = 0
    async for part in stream:
        if "observe" in part:
            seen += 1
            assert len((await graph.aget_state(CONFIG)).values.get("turns", [])) == seen - 1
        if seen == 3:
            break
    await stream.aclose()


async def test_a_turn_takes_the_room_of_its_reply_and_little_more(
    agent: Build, saver: GroupedSqliteSaver, tmp_path: Path
) -> None:
    reply = "Words, and no two of them compress: " + "".join(map(chr, range(33, 127))) * 53
    assert len(reply) > 5_000

    await run(agent, saver, 200, f"{reply}\n{repl('n = 1')}")

    await saver.settle("a run")
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as another:
        another.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / "runs.sqlite").stat().st_size < 4_000_000


async def test_langgraphs_own_saver_goes_on_with_a_run_and_ours_after_it(
    agent: Build, saver: GroupedSqliteSaver, tmp_path: Path
) -> None:
    replies = Flaky([repl(f"n = {number}") for number in range(6)] + [repl("FINAL(1)")], down_at=[3, 6])
    executor = ScriptedExecutor(cells)
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as theirs:
        theirs.serde = strict_serializer(STORED_TYPES)
        ours, between = (agent(replies, checkpointer=one, executor=executor) for one in (saver, theirs))
        with pytest.raises(ModelError):
            await ours.ainvoke({"question": "Go."}, CONFIG)
        with pytest.raises(ModelError):
            await between.ainvoke(None, CONFIG)

    result = await ours.ainvoke(None, CONFIG)

    assert result["answer"].value == 1
    state = await ours.aget_state(CONFIG)
    assert [turn.executions[0].code for turn in state.values["turns"]] == [*(f"n = {n}" for n in range(6)), "FINAL(1)"]
    versions = [
        max(kept.checkpoint["channel_versions"].values())
        async for kept in saver.alist({"configurable": CONFIG["configurable"]})
    ]
    assert versions == sorted(versions, reverse=True)
    assert {len(version) for version in versions} > {7, 32}


MEMORY = """
import asyncio, gc, sys
from pathlib import Path
from rlm_graph import AgentOptions, Budget, Caps, ContextStore, create_rlm_agent
from rlm_graph.storage.runs import Runs
from rlm_graph.testing import ScriptedExecutor, ScriptedModel
from rlm_graph.testing.cells import Final, Output

def megabytes():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

async def run(runs, name, turns):
    replies = [*[f"Turn {turn}.\\n```repl\\nn = {turn}\\n```" for turn in range(turns)], "```repl\\nFINAL(1)\\n```"]
    agent = create_rlm_agent(
        ScriptedModel(replies),
        executor=ScriptedExecutor(lambda code: [Final(1)] if "FINAL" in code else [Output("a line")]),
        checkpointer=runs.saver,
        budget=Budget(max_turns=turns + 1, max_subcalls=None, timeout_s=None),
        options=AgentOptions(
            caps=Caps(max_turns=None, max_subcalls=None, timeout_s=None),
            contexts=ContextStore(Path(sys.argv[1]) / "contexts"),
        ),
    )
    result = await agent.ainvoke({"question": "Go.", "context": "text"}, {"configurable": {"thread_id": name}})
    assert result["answer"].value == 1
    return megabytes()

async def main():
    async with Runs.open(Path(sys.argv[1]) / "runs.sqlite") as runs:
        print(*[await run(runs, f"run {number}", turns) for number, turns in enumerate((3, 300, 300))])

asyncio.run(main())
"""


def test_memory_stays_flat_over_hundreds_of_turns(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 0, done.stderr
    small, long, another = map(float, done.stdout.split())
    assert small < 130
    assert long - small < 20
    assert another - long < 5
