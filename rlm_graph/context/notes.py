"""What the model and the user should know about how a context was taken in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

SHOWN = 3
"""Names that are given for each remark."""


class Remark(NamedTuple):
    """Something that holds for a text."""

    text: str
    """In it, `{}` stands for the amount."""
    amount: int = 0
    """How often it holds for that text; the amounts of several texts are added up."""


class Notes:
    """Remarks, each with the texts that it is about."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._amounts: dict[str, int] = {}

    def add(self, remark: str, name: str | None, *, amount: int = 0) -> None:
        """Note that `remark` holds for the text `name`, or for the only text."""
        self._counts[remark] = self._counts.get(remark, 0) + 1
        self._amounts[remark] = self._amounts.get(remark, 0) + amount
        names = self._names.setdefault(remark, [])
        if name is not None and len(names) < SHOWN:
            names.append(name)

    def add_all(self, remarks: Iterable[Remark], name: str | None) -> None:
        """Note several remarks about one text."""
        for remark in remarks:
            self.add(remark.text, name, amount=remark.amount)

    def lines(self) -> tuple[str, ...]:
        """Return one line for each remark."""
        return tuple(self._line(remark) for remark in self._names)

    def _line(self, remark: str) -> str:
        names, count = self._names[remark], self._counts[remark]
        remark = remark.replace("{}", f"{self._amounts[remark]:,}") if self._amounts[remark] else remark
        if not names:
            return printable(remark)
        more = f" and {count - len(names):,} more" if count > len(names) else ""
        return printable(f"{', '.join(names)}{more}: {remark}")


def printable(text: str) -> str:
    """Escape line breaks, control characters and lone surrogates: names of files may hold any of them."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
