"""`rlm-graph rm`: a run leaves with everything that is its alone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

from rlm_graph.storage.runs import Runs
from rlm_graph.testing import ScriptedReply, ScriptedServer
from tests.cli.conftest import Shell, code
from tests.storage.test_locks import another_process

Serve = Callable[..., ScriptedServer]


def rows(shell: Shell) -> dict[str, int]:
    with sqlite3.connect(shell.db) as database:
        tables = ("runs", "checkpoints", "writes")
        return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def contexts(shell: Shell) -> list[str]:
    return sorted(path.name for path in (shell.folder / "data" / "contexts").iterdir() if len(path.name) == 64)


def test_a_deleted_run_leaves_nothing_and_takes_nothing_of_another(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(llm_query(context))"))
    (shell.folder / "shared.txt").write_text("shared")
    (shell.folder / "own.txt").write_text("own")
    shell.here("run", "q", "-c", "shared.txt", "--thread", "stays")
    before = rows(shell)
    [shared] = contexts(shell)
    shell.here("run", "q", "-c", "shared.txt", "--thread", "goes")
    shell.here("run", "q", "-c", "own.txt", "--thread", "goes-too")
    assert len(contexts(shell)) == 2

    result = shell.here("rm", "goes", "goes-too", "--yes")

    assert (result.exit_code, result.stdout) == (0, "")
    assert rows(shell) == before
    assert contexts(shell) == [shared]
    assert shell.here("resume", "stays").stdout == "sub-answer\n"

    shell.here("rm", "stays", "-y")
    assert set(rows(shell).values()) == {0}
    assert contexts(shell) == []
    assert list(shell.db.parent.glob("runs.sqlite.locks/*")) == []


def test_its_repl_ends_with_it(shell: Shell, serve: Serve) -> None:
    serve(code("x = 1"), ScriptedReply(status=400, error="no more"))
    assert shell.here("run", "q", "--thread", "mine").exit_code == 6
    folder = Path(asyncio.run(_address(shell)))
    assert folder.exists()

    shell.here("rm", "mine", "--yes")

    assert not folder.exists()


async def _address(shell: Shell) -> str:
    async with Runs.open(shell.db) as runs:
        return str((await runs.state("mine"))["repl"].address)


def test_a_run_that_a_process_is_at_work_on_stays(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    shell.here("run", "q", "--thread", "mine")

    with another_process(str(shell.db), "mine") as process:
        refused = shell.here("rm", "mine", "--yes")

    assert refused.exit_code == 1
    assert f"held by process {process.pid}" in refused.stderr
    assert shell.here("resume", "mine").stdout == "1\n"


def test_nothing_is_deleted_unasked_or_when_one_id_is_wrong(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    shell.here("run", "q", "--thread", "mine")

    unasked, wrong = shell.here("rm", "mine"), shell.here("rm", "mine", "nothing", "--yes")

    assert (unasked.exit_code, wrong.exit_code) == (2, 2)
    assert "--yes" in unasked.stderr
    assert shell.here("resume", "mine").stdout == "1\n"
