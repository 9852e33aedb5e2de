"""Which changes `make mutants` tries."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.mutants.choosing import choose

SOURCE = """\
WAIT_S = 5
TURNS = 7
def after(wait: Literal[1, 2] = 3, *, n: int) -> Literal[4]:
    return wait * TURNS
@dataclass(frozen=True)
class Waits:
    pass
"""
WITHOUT_EFFECT = [(1, 9), (3, 24), (3, 35), (3, 57), (5, 18)]
WORTHWHILE = [(2, 8), (3, 32), (4, 16)]
STARS = {(3, 35), (4, 16)}


def session(path: Path, places: list[tuple[int, int]], *, skipped: int = 0) -> Path:
    """Write a session as Cosmic Ray does, with a change at each place; the first ones were skipped by a filter."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE work_items (job_id)")
        connection.execute("CREATE TABLE work_results (job_id)")
        connection.execute(
            "CREATE TABLE mutation_specs (job_id, operator_name, occurrence, start_pos_row, start_pos_col)"
        )
        for number, (line, column) in enumerate(places):
            connection.execute("INSERT INTO work_items VALUES (?)", (number,))
            connection.execute(
                "INSERT INTO mutation_specs VALUES (?, ?, 0, ?, ?)",
                (
                    number,
                    "core/ReplaceBinaryOperator_Mul_Add" if (line, column) in STARS else "core/NumberReplacer",
                    line,
                    column,
                ),
            )
            if number < skipped:
                connection.execute("INSERT INTO work_results VALUES (?)", (number,))
    return path


def left(path: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(path)) as connection:
        places = connection.execute(
            "SELECT start_pos_row, start_pos_col FROM work_items JOIN mutation_specs USING (job_id) ORDER BY 1, 2"
        ).fetchall()
        (items,) = connection.execute("SELECT count(*) FROM work_items").fetchone()
    assert items == len(places)
    return places


def test_only_what_can_make_a_difference_is_tried(tmp_path: Path) -> None:
    path = session(tmp_path / "s", [*WITHOUT_EFFECT, *WORTHWHILE])

    assert choose(path, SOURCE, sample=None, seed="") == (3, 3)
    assert left(path) == WORTHWHILE


def test_what_a_filter_has_skipped_is_neither_tried_nor_counted(tmp_path: Path) -> None:
    path = session(tmp_path / "s", WORTHWHILE, skipped=1)

    assert choose(path, SOURCE, sample=None, seed="") == (2, 2)
    assert left(path) == WORTHWHILE[1:]


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another(tmp_path: Path) -> None:
    lines = [(line, 0) for line in range(10, 110)]
    first, again, other = (session(tmp_path / name, lines) for name in ("first", "again", "other"))

    assert [choose(path, SOURCE, sample=5, seed=seed) for path, seed in ((first, "1"), (again, "1"), (other, "2"))] == [
        (5, 100)
    ] * 3
    assert left(first) == left(again) != left(other)
    assert len(left(first)) == 5


@pytest.mark.parametrize("sample", [3, 100])
def test_a_sample_as_large_as_all_is_all(tmp_path: Path, sample: int) -> None:
    path = session(tmp_path / "s", WORTHWHILE)

    assert choose(path, SOURCE, sample=sample, seed="") == (3, 3)
    assert left(path) == WORTHWHILE
