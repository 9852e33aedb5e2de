"""The count of a run's events, and the signal that the n-th of them sends to the host."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

WIDTH = 24
"""Bytes of one event in the file, so that its size is the count."""


class Fuse:
    """Counts events of all the processes of one trial, in a file, and sends the host signals at chosen ones.

    The host is the process that runs the command. Whoever sees an event tells: the host itself, or the model's server.
    The count goes on through every life of the host, so the numbers may name an event of a resume too.
    """

    def __init__(self, folder: Path) -> None:
        self._events = folder / "events"
        self._host = folder / "host"
        self._signals = folder / "signals"

    def lay(self, signals: Mapping[int, signal.Signals]) -> None:
        """Start the count, and send the host these signals at the events of these numbers, from 1."""
        self._signals.write_text(json.dumps({number: int(sent) for number, sent in signals.items()}))
        self._events.touch()

    def live(self) -> None:
        """Say that this process is the host now."""
        self._host.write_text(str(os.getpid()))

    def dead(self) -> None:
        """Say that the host has ended: what the server still sees of it counts, and strikes nobody."""
        self._host.unlink(missing_ok=True)

    def happened(self, kind: str) -> None:
        """Count an event. Does not return if it is one to be killed at and this process is the host."""
        with self._events.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(kind[: WIDTH - 1].ljust(WIDTH - 1).encode() + b"\n")
            file.flush()
            number = file.seek(0, os.SEEK_END) // WIDTH
        sent = json.loads(self._signals.read_text()).get(str(number))
        if sent is not None:
            with suppress(FileNotFoundError, ProcessLookupError):
                os.killpg(int(self._host.read_text()), sent)

    def events(self) -> list[str]:
        """Return the kinds of all events so far, in their order."""
        return [line.strip() for line in self._events.read_text().splitlines()]
