"""What a database of runs does, whichever server or file it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from rlm_graph.storage.locks import RecordLocation

Statement = tuple[str, Sequence[Any]]
"""SQL with a `?` for each of the values."""

BUSY_TIMEOUT_S = 5.0
"""How long to wait for another process that is writing."""


class Part(NamedTuple):
    """A part of what is kept, and how much room it takes."""

    part: str
    place: str
    bytes: int
    entries: int
    """Runs, contexts, notes, …: what it holds one or many of."""


class ContextNotes(Protocol):
    """Keeps which run refers to which context."""

    async def note(self, run: str, value: Any) -> None:
        """Note all references to contexts that a value of the run holds, at any depth."""
        ...

    async def forget(self, run: str) -> None:
        """Remove the run's references."""
        ...


class Database(Protocol):
    """An open database whose tables are those of `rlm_graph/storage/tables.py`.

    Every failure of it leaves the block in which it is open as `StorageError`. Statements of several tasks do not mix.
    """

    @property
    def place(self) -> Path | str:
        """The file, or the server's address without a password."""
        ...

    async def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        ...

    async def write(self, *statements: Statement) -> bool:
        """Execute the statements, all or none of them; False, and none, if what one inserts is there already."""
        ...

    def saver(
        self, serde: SerializerProtocol, contexts: ContextNotes, *, encrypted: bool = False
    ) -> BaseCheckpointSaver[Any]:
        """Return a saver on this database, with LangGraph's tables, which notes contexts.

        `encrypted`: it keeps no value beside the serializer.
        """
        ...

    async def location(self) -> RecordLocation:
        """Return where its runs are locked; it is that of its saver."""
        ...

    async def check(self) -> None:
        """Raise `StorageError` if the database is damaged, or does not answer."""
        ...
