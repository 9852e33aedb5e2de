"""Which changes of a module are worth their time: those that can make a difference, and of these a sample."""

from __future__ import annotations

import ast
import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

Position = tuple[int, int]
"""A line, from 1 on, and a column, from 0 on."""


def choose(session: Path, source: str, *, sample: int | None, seed: str) -> tuple[int, int]:
    """Leave in the session of Cosmic Ray what is to be tried; return how many that are, and of how many.

    What a filter has skipped goes, and what lies where no change makes a difference, or is none of an operator: the
    stars of a signature. Of the rest the same `sample` is
    left for the same `seed`; all if it is None.
    """
    tree = ast.parse(source)
    spans = [*_without_effect(tree)]
    operations = [_span(node) for node in ast.walk(tree) if isinstance(node, ast.BinOp | ast.AugAssign)]
    with closing(sqlite3.connect(session)) as connection, connection:
        rows = connection.execute(
            "SELECT job_id, operator_name, start_pos_row, start_pos_col FROM mutation_specs"
            " WHERE job_id NOT IN (SELECT job_id FROM work_results)"
            " ORDER BY start_pos_row, start_pos_col, operator_name, occurrence"
        ).fetchall()
        worthwhile = [
            job
            for job, operator, *start in rows
            if not _within(spans, start) and ("BinaryOperator" not in operator or _within(operations, start))
        ]
        few = sample is not None and sample < len(worthwhile)
        chosen = random.Random(seed).sample(worthwhile, sample or 0) if few else worthwhile
        connection.execute("CREATE TEMPORARY TABLE chosen (job_id PRIMARY KEY)")
        connection.executemany("INSERT INTO chosen VALUES (?)", [(job,) for job in chosen])
        for table in ("work_results", "mutation_specs", "work_items"):
            connection.execute(f"DELETE FROM {table} WHERE job_id NOT IN (SELECT job_id FROM chosen)")
    return len(chosen), len(worthwhile)


def _within(spans: Iterable[tuple[Position, Position]], start: Sequence[int]) -> bool:
    return any(first <= tuple(start) < last for first, last in spans)


def _without_effect(tree: ast.AST) -> Iterator[tuple[Position, Position]]:
    """Yield where no change matters: annotations are never evaluated, nor are blocks for type checkers.

    How long is waited (a constant of seconds), and that values are frozen (a decorator's options), no test can see.
    """
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(annotation=found):
                yield _span(found)
            case ast.arg(annotation=ast.expr() as found):
                yield _span(found)
            case ast.FunctionDef(returns=ast.expr() as found) | ast.AsyncFunctionDef(returns=ast.expr() as found):
                yield _span(found)
            case ast.ClassDef(decorator_list=[found, *_]):
                yield _span(found)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield _span(node)
            case ast.Assign(targets=[ast.Name(id=name)]) if name.isupper() and name.endswith("_S"):
                yield _span(node)


def _span(node: ast.expr | ast.stmt) -> tuple[Position, Position]:
    return (node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)
