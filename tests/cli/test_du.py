"""`rlm-graph du`: how much room the runs take, and all that is kept beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rlm_graph.cli.du import size
from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]
KEY = "0123456789abcdef0123456789abcdef"
REMEMBERS = (code("memory.remember('a note', 'key')\nx = llm_query(context)"), code("FINAL(x)"))


def measured(shell: Shell, *args: object) -> dict[str, dict[str, Any]]:
    """The parts by their names, and all of them together as one."""
    found = json.loads(shell.here("du", "--json", *args).stdout)
    assert found["bytes"] == sum(part["bytes"] for part in found["parts"])
    return {part["part"]: part for part in found["parts"]} | {"all": {"bytes": found["bytes"]}}


def content(folder: Path) -> dict[str, bytes]:
    """All files as they are, but those in which SQLite's connections count themselves."""
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")
    }


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_where_nothing_was_ever_kept_nothing_takes_room_and_nothing_is_made(shell: Shell) -> None:
    parts = measured(shell)

    assert {(part["bytes"], part.get("entries", 0)) for part in parts.values()} == {(0, 0)}
    assert shell.here("du").stdout.split() == ["all", "0", "bytes"]
    assert not (shell.folder / "data").exists()


@pytest.mark.confinement
def test_each_part_is_told_with_what_it_holds_and_together_they_are_the_folder(shell: Shell, serve: Serve) -> None:
    serve(*REMEMBERS)
    shell.variables |= {"RLM_SNAPSHOTS__AFTER_S": "0", "RLM_MODELS__CACHE_TTL_S": "60"}
    (shell.folder / "one.txt").write_text("one " * 1000)
    (shell.folder / "two.txt").write_text("two")
    for name in ("one", "two"):
        assert shell.here("run", "q", "-c", f"{name}.txt", "--memory", "--thread", name).exit_code == 0
    (shell.folder / "data" / "mine.txt").write_text("12345")
    (shell.folder / "data" / "snapshots").mkdir(exist_ok=True)  # those of a run go when it has its answer
    (shell.folder / "data" / "snapshots" / "a-b").write_text("1234567")
    before = content(shell.folder / "data")

    parts = measured(shell)

    assert {name: part["entries"] for name, part in parts.items() if part.get("entries")} == {
        "runs": 2, "contexts": 2, "snapshots": 1, "memory": 1, "locks": 2,
        "replies": parts["replies"]["entries"], "other files": 1,
    }  # fmt: skip
    assert parts["contexts"]["bytes"] == bytes_in(shell.folder / "data" / "contexts") > 4000
    assert parts["contexts"]["place"] == str(shell.folder / "data" / "contexts")
    assert (parts["other files"]["bytes"], parts["snapshots"]["bytes"]) == (5, 7)
    assert parts["all"]["bytes"] == bytes_in(shell.folder / "data")
    assert content(shell.folder / "data") == before


@pytest.mark.confinement
def test_what_is_encrypted_is_measured_without_the_key(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    (shell.folder / "one.txt").write_text("one " * 1000)
    shell.here("run", "q", "-c", "one.txt", "--encrypt", LANGGRAPH_AES_KEY=KEY)

    parts = measured(shell)

    assert (parts["runs"]["entries"], parts["encrypted contexts"]["entries"], parts["contexts"]["entries"]) == (1, 1, 0)
    assert parts["encrypted contexts"]["bytes"] > 4000


@pytest.mark.confinement
def test_the_table_shows_the_parts_that_hold_anything_and_their_sum(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    shell.here("run", "q")

    lines = [line.split() for line in shell.here("du").stdout.splitlines()]

    assert [line[0] for line in lines] == ["runs", "locks", "all"]
    assert lines[0][1] == "1"
    assert lines[0][-1] == str(shell.db)


@pytest.mark.confinement
@pytest.mark.postgres
def test_on_a_server_the_tables_of_runs_and_memory_are_told_from_the_rest(
    shell: Shell, serve: Serve, postgres: str
) -> None:
    serve(*REMEMBERS)
    shell.variables["RLM_DB"] = postgres
    (shell.folder / "one.txt").write_text("one")
    assert shell.here("run", "q", "-c", "one.txt", "--memory").exit_code == 0
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE mine AS SELECT generate_series(1, 100)")

        parts = measured(shell)

        [(whole,)] = connection.execute("SELECT pg_database_size(current_database())").fetchall()
        [(checkpoints,)] = connection.execute("SELECT pg_total_relation_size('checkpoints')").fetchall()
    assert [parts[name]["entries"] for name in ("runs", "memory", "rest of the database")] == [1, 1, 1]
    assert parts["runs"]["bytes"] > checkpoints
    assert sum(parts[name]["bytes"] for name in ("runs", "memory", "rest of the database")) == whole
    assert parts["contexts"]["entries"] == 1


@pytest.mark.postgres
def test_an_empty_database_of_a_server_is_measured_and_left_empty(shell: Shell, postgres: str) -> None:
    parts = measured(shell, "--db", postgres)

    assert (parts["runs"]["entries"], parts["runs"]["bytes"]) == (0, 0)
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_file_that_is_no_database_is_named_and_left_as_it_is(shell: Shell) -> None:
    (shell.folder / "notes.txt").write_text("mine " * 1000)

    result = shell.here("du", "--db", "notes.txt")

    assert result.exit_code == 3
    assert "notes.txt: not a database; left as it is" in result.stderr
    assert (shell.folder / "notes.txt").read_text() == "mine " * 1000


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (3_400_000, "3.4 MB"), (5 * 10**12, "5,000.0 GB")],
)
def test_a_size_is_told_in_its_largest_unit(count: int, words: str) -> None:
    assert size(count) == words
