"""Runs on a PostgreSQL server: found again, held, deleted; and what goes wrong is said in one line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rlm_graph.errors import StorageError
from rlm_graph.settings import Settings
from rlm_graph.storage.runs import Runs
from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code, serve, shell
from tests.storage.test_runs import create

__all__ = ["serve", "shell"]
pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]


async def test_processes_that_make_the_tables_at_once_do_not_get_into_each_others_way(postgres: str) -> None:
    async def start() -> str:
        async with Runs.open(postgres) as runs:
            return (await create(runs)).id

    assert len(set(await asyncio.gather(*(start() for _ in range(4))))) == 4


async def test_a_server_that_is_not_there_or_goes_away_is_a_storage_error(postgres: str) -> None:
    with pytest.raises(StorageError, match="does not answer"):
        async with Runs.open("postgresql://me:hidden@127.0.0.1:9/none"):
            pass

    async def lose() -> None:
        async with Runs.open(postgres) as runs:
            assert await runs.state("a") == {}
            with psycopg.connect(postgres, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            await runs.state("a")

    with pytest.raises(StorageError, match="what was recorded is kept") as caught:
        await lose()
    assert "\n" not in str(caught.value)


async def test_what_is_recorded_of_a_run_does_not_get_in_the_way_of_its_checkpoints(postgres: str) -> None:
    config: Any = {"configurable": {"thread_id": "a", "checkpoint_ns": "", "checkpoint_id": "1"}}

    async with Runs.open(postgres) as runs:
        run = await create(runs, id="a")
        assert await runs.state("a") == {}  # the saver connects: a transaction sees those who were there before it
        with psycopg.connect(postgres) as other:
            other.execute("LOCK TABLE checkpoint_writes IN ACCESS EXCLUSIVE MODE")
            under_way = asyncio.create_task(runs.saver.aput_writes(config, [("x", 1)], "a task"))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while other.execute(waiting).fetchone() != (1,):
                await asyncio.sleep(0.01)
            # On the saver's own connection this would be a second command beside the one that is under way.
            async with asyncio.timeout(30):
                await runs.finish(run.id, "done", run.usage)
        await under_way


@pytest.fixture
def guarded(postgres: str, postgres_server: Any) -> Iterator[str]:
    """A database on a server that asks everybody for a password but its own superuser; the user is `guest`."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        [place] = connection.execute("SHOW hba_file").fetchone() or ()
        before = Path(place).read_text()
        Path(place).write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN SUPERUSER PASSWORD 'right'")
        yield postgres.replace("postgres:@", "guest:{}@")
        Path(place).write_text(before)
        connection.execute("SELECT pg_reload_conf()")


async def test_a_password_that_is_refused_is_said_and_not_shown(guarded: str) -> None:
    for password in ("wrong-one", ""):
        with pytest.raises(StorageError, match="refuses the password") as caught:
            async with Runs.open(guarded.format(password)):
                pass
        assert "PGPASSWORD" in str(caught.value)
        assert "wrong-one" not in str(caught.value)
    async with Runs.open(guarded.format("right")) as runs:
        assert [run async for run in runs.each()] == []


async def test_a_database_of_something_else_is_left_alone(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE runs (mine TEXT)")

        with pytest.raises(StorageError, match="a table of another kind"):
            async with Runs.open(postgres):
                pass

        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert tables == [("runs",)]


@pytest.mark.parametrize("missing", ["psycopg", "langgraph.checkpoint.postgres"])
def test_without_its_extra_the_command_says_what_to_install(shell: Shell, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from rlm_graph.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", code, "logs", "--db", "postgresql://me@127.0.0.1:9/none"],
        capture_output=True, text=True, env=shell.environment(), timeout=100,
    )  # fmt: skip

    assert done.returncode == 3
    assert "pip install 'rlm-graph[postgres]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_password_is_not_shown() -> None:
    settings = Settings.checked({"db": "postgresql://me:hidden@host/runs"})

    assert settings.db == "postgresql://me:hidden@host/runs"
    assert settings.model_dump(mode="json")["db"] == "postgresql://me:***@host/runs"


def test_the_commands_work_on_a_server(
    shell: Shell,
    serve: Callable[..., ScriptedServer],
    postgres: str,
) -> None:
    server = serve(code("x = llm_query('once')"), code("FINAL(x)"))
    shell.variables["RLM_DB"] = postgres

    first = shell.here("run", "q", "--thread", "mine")
    forked = shell.here("fork", "mine", "--at", "1", "--thread", "other")
    again = shell.here("resume", "mine")
    listed = json.loads(shell.here("logs", "--json").stdout)
    gone = shell.here("rm", "mine", "other", "--yes")

    assert [done.exit_code for done in (first, forked, again, gone)] == [0] * 4, first.stderr + forked.stderr
    assert first.stdout == forked.stdout == again.stdout == "sub-answer\n"
    assert [run["id"] for run in listed] == ["other", "mine"]
    assert len(server.requests_like(lambda request: request.prompt == "once")) == 1
    with psycopg.connect(postgres) as connection:
        for table in ("runs", "checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
