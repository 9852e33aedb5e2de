"""Runs on a PostgreSQL server: found again, held, deleted; and what goes wrong is said in one line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import psycopg
import pytest

from rlm_graph.budget import Usage
from rlm_graph.errors import InputError, StorageError
from rlm_graph.runs import Runs
from rlm_graph.settings import Settings
from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code, serve, shell
from tests.test_runs import create

__all__ = ["serve", "shell"]
pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]


async def test_runs_are_kept_in_the_order_of_their_making(postgres: str) -> None:
    async with Runs.open(postgres) as runs:
        for name in ("a", "b"):
            await create(runs, id=name)
        with pytest.raises(InputError, match="there is a run a already"):
            await create(runs, id="a")
        await runs.finish("a", "partial", Usage(turns=3))

    async with Runs.open(postgres) as runs:
        assert [run.id for run in await runs.all()] == ["b", "a"]
        assert (await runs.last()).id == "b"
        assert ((await runs.get("a")).status, (await runs.get("a")).usage.turns) == ("partial", 3)
        await runs.delete("a")
        assert [run.id for run in await runs.all()] == ["b"]


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
            with psycopg.connect(postgres, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            await runs.state("a")

    with pytest.raises(StorageError, match="what was recorded is kept") as caught:
        await lose()
    assert "\n" not in str(caught.value)


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
