"""Which run refers to which context, so that a deletion knows what else needs one without reading every other run.

A reference enters a run's record in two ways: with its settings, when it is entered, and through the saver, as part of
what a caller gave (`run`, `ask`, `fork`, `invoke`), or of what code gave an agent below it. So the saver that `Runs`
hands out looks through all that it is to write, and notes a reference before it is written: what is recorded is always
in the table too. What stands in the table and was not written, because the process was killed in between, goes when
the run is deleted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from rlm_graph.state import Answer, ContextRef, FinalAnswer, KeptValue, SubcallReply
from rlm_graph.storage.database import Database, Statement
from rlm_graph.storage.encryption import Cipher
from rlm_graph.typed_answer import TypedAnswer

T = TypeVar("T")


class RunContexts:
    """The table of references. An encrypted one has keyed digests of contexts, which are not those of their folders."""

    def __init__(self, database: Database, cipher: Cipher | None) -> None:
        self._database = database
        self._cipher = cipher

    def noting(self, run: str, value: Any) -> list[Statement]:
        """Return the statements that note all references of the run in a value."""
        return [
            ("INSERT INTO run_contexts (run, context) VALUES (?, ?) ON CONFLICT DO NOTHING", (run, self._name(sha256)))
            for sha256 in sorted({ref.sha256 for ref in instances_in(value, ContextRef)})
        ]

    async def note(self, run: str, value: Any) -> None:
        """Note all references of the run in a value."""
        if statements := self.noting(run, value):
            await self._database.write(*statements)

    async def forget(self, run: str) -> None:
        """Remove the run's references."""
        await self._database.write(("DELETE FROM run_contexts WHERE run = ?", (run,)))

    async def is_shared(self, run: str, sha256: str) -> bool:
        """Tell whether another run refers to the context. A copy that was cut off, which is no run, does not count."""
        return bool(
            await self._database.read(
                "SELECT 1 FROM run_contexts JOIN runs ON runs.id = run_contexts.run"
                " WHERE run_contexts.context = ? AND run_contexts.run <> ? LIMIT 1",
                self._name(sha256), run,
            )
        )  # fmt: skip

    def _name(self, sha256: str) -> str:
        return sha256 if self._cipher is None else self._cipher.name(f"context {sha256}")


def instances_in(value: Any, kind: type[T]) -> Iterator[T]:
    """Yield everything of that type in a value, at any depth of its lists, tuples and dicts, and in its answers."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, kind):
            yield value
        elif (parts := _parts_of(type(value))) is not None:  # type: ignore[arg-type]  # a class can be hashed
            waiting.extend(parts(value))


@functools.lru_cache(maxsize=1024)
def _parts_of(kind: type) -> Callable[[Any], Iterable[Any]] | None:
    """Return what yields the parts of values of a type; None if they have none.

    Found once for each type: a saver looks through thousands of values a second, and hardly any is a container.
    """
    if issubclass(kind, FinalAnswer | Answer | SubcallReply):
        return _kept_in
    if issubclass(kind, TypedAnswer):
        return _kept_in_typed
    if issubclass(kind, Mapping):
        return lambda value: value.values()
    return iter if issubclass(kind, list | tuple) else None


def _kept_in(answer: FinalAnswer | Answer | SubcallReply) -> Iterable[Any]:
    return () if answer.kept is None else (answer.kept.ref,)


def _kept_in_typed(answer: TypedAnswer) -> Iterable[Any]:
    return () if answer.kept is None else (KeptValue.model_validate(answer.kept).ref,)
