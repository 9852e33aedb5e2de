"""What the cells of an act read of clocks, on its way into the record of their calls.

A cell that is cut off runs again, and builds its prompts from the same times only if these are on disk as early as the
answers to those prompts. So an answer is recorded with all that was read before it and is not recorded yet, whichever
call told of that: a prompt may hold a time that another thread, or a cell before, has read.
"""

from __future__ import annotations

from collections.abc import Iterable

from rlm_graph.executors.sandbox.readings import MAX_READINGS, Readings, whole_streams


class ClockReadings:
    """Keeps what is read until it is recorded. Every name begins with the number of the cell that has read it."""

    def __init__(self) -> None:
        self._unrecorded: dict[str, list[int]] = {}
        self._known: dict[str, int] = {}
        """How many readings of each stream have been noted."""
        self._counts: dict[int, int] = {}
        """How many readings of each cell have been noted."""

    def note(self, cell: int, readings: Readings) -> None:
        """Take in what a call of the cell, or its end, tells. What was noted before, and what is too much, is left."""
        for name, values in readings.items():
            stream, _, position = name.rpartition(" ")
            stream, at = f"{cell} {stream}", int(position)
            known = self._known.get(stream, at)
            room = MAX_READINGS - self._counts.get(cell, 0)
            fresh = values[max(known - at, 0) :][:room]
            if fresh:
                at = max(at, known)
                self._unrecorded[f"{stream} {at}"] = list(fresh)
                self._known[stream] = at + len(fresh)
                self._counts[cell] = self._counts.get(cell, 0) + len(fresh)

    def take(self) -> dict[str, list[int]]:
        """Return what is to be recorded with the answer that has just come."""
        taken, self._unrecorded = self._unrecorded, {}
        return taken


def of_cell(cell: int, recorded: Iterable[Readings]) -> Readings:
    """Return what is recorded of that cell, without the cell's number, and no more than a cell may be shown.

    A cell that tells other things each time it runs has more of them recorded.
    """
    start = f"{cell} "
    own = [
        {name.removeprefix(start): values for name, values in readings.items() if name.startswith(start)}
        for readings in recorded
    ]
    streams, left = {}, MAX_READINGS
    for name, values in whole_streams(*own).items():
        if shown := values[:left]:
            streams[name] = shown
            left -= len(shown)
    return streams
