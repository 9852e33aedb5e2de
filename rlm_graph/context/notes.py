"""What the model and the user should know about how a context was taken in."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 3
"""Names that are given for each remark."""


class Notes:
    """Remarks, each with the texts that it is about."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, remark: str, name: str | None) -> None:
        """Note that `remark` holds for the text `name`, or for the only text."""
        self._counts[remark] = self._counts.get(remark, 0) + 1
        names = self._names.setdefault(remark, [])
        if name is not None and len(names) < SHOWN:
            names.append(name)

    def add_all(self, remarks: Iterable[str], name: str | None) -> None:
        """Note several remarks about one text."""
        for remark in remarks:
            self.add(remark, name)

    def lines(self) -> tuple[str, ...]:
        """Return one line for each remark."""
        return tuple(self._line(remark) for remark in self._names)

    def _line(self, remark: str) -> str:
        names, count = self._names[remark], self._counts[remark]
        if not names:
            return printable(remark)
        more = f" and {count - len(names):,} more" if count > len(names) else ""
        return printable(f"{', '.join(names)}{more}: {remark}")


def printable(text: str) -> str:
    """Escape line breaks, control characters and lone surrogates: names of files may hold any of them."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
