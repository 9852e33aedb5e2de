"""The ends of cells, kept for owners that ask again: one that was killed may not have read them."""

from __future__ import annotations

MAX_BYTES = 64 << 20
"""Of all records. The last one is always kept."""


class Records:
    """What was told of the cells that have ended, by number, with a digest of each cell's code."""

    def __init__(self) -> None:
        self._records: dict[int, tuple[str, bytes]] = {}

    def add(self, number: int, identity: str, told: bytes) -> None:
        """Keep a record, and drop the oldest ones if that makes them too many."""
        self._records.pop(number, None)
        self._records[number] = (identity, told)
        while len(self._records) > 1 and sum(len(kept) for _, kept in self._records.values()) > MAX_BYTES:
            self._records.pop(next(iter(self._records)))

    def find(self, number: int, identity: str) -> bytes | None:
        """Return what was told of that cell; None if it did not end here, or was another one."""
        known, told = self._records.get(number, ("", b""))
        return told if known == identity else None

    def last(self) -> bytes | None:
        """Return what was told of the cell that ended last."""
        return next(reversed(self._records.values()))[1] if self._records else None

    def clear(self) -> None:
        """Forget them: the namespace that they tell of is gone."""
        self._records.clear()
