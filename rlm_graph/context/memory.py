"""What a text takes in memory once a REPL holds it as a `str`, and how much memory there is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

BLOCK = 1 << 20
"""Bytes that are read, decoded, hashed and written at a time."""

ASTRAL = tuple(bytes([lead]) for lead in range(0xF0, 0xF5))
NARROW = bytes(range(0xC4))
"""Every byte that UTF-8 uses for code points below 256."""
CONTINUATION = bytes(range(0x80, 0xC0))

WHOLE_TEXT_BYTES = 256 << 20
PIECE_BYTES = 64 << 20
"""A context that is one text beyond ASCII and longer than the former is given to code in pieces of the latter (see
`executors/sandbox/worker/context.py`), so that one wide character does not widen all of it."""

SHOWING_CHARS = 128
"""Characters that take more in memory than what CPython keeps beside those of a text, which is less than 80 bytes."""


class Part(NamedTuple):
    """One text of a stored context, as its index lists it."""

    name: str | None
    start: int
    """Offset of its first byte in `text`."""
    bytes: int
    chars: int
    ascii: bool


def most_bytes(parts: Iterable[Part]) -> int:
    """Return bytes that the parts take at most: CPython spends 1, 2 or 4 on every character of a `str`."""
    return sum(part.chars if part.ascii else 4 * part.chars for part in parts)


class Measure:
    """What one text takes in memory, from its pieces as they come."""

    def __init__(self) -> None:
        self._chars, self._width = 0, 1
        self._before, self._piece_bytes, self._piece_chars, self._piece_width = 0, 0, 0, 1

    def add(self, size: int, chars: int, width: int) -> None:
        """Add `size` bytes of UTF-8 in which `chars` characters end, of which the widest takes `width` bytes."""
        self._chars += chars
        self._width = max(self._width, width)
        self._piece_bytes += size
        self._piece_chars += chars
        self._piece_width = max(self._piece_width, width)
        if self._piece_bytes >= PIECE_BYTES:
            self._before = self._in_pieces
            self._piece_bytes, self._piece_chars, self._piece_width = 0, 0, 1

    def needed(self, part: Part, kind: str) -> int:
        """Return the bytes that it takes as `part` of a context of that kind."""
        if kind == "str" and part.bytes > WHOLE_TEXT_BYTES and not part.ascii:
            return self._in_pieces
        return self._chars * self._width

    @property
    def _in_pieces(self) -> int:
        return self._before + self._piece_chars * self._piece_width


def exact_bytes(text: BinaryIO, kind: str, parts: Iterable[Part]) -> int:
    """Return the bytes that the parts of `text` take, from the widest character of each."""
    needed = 0
    for part in parts:
        measure = Measure()
        for block in () if part.ascii else _blocks(text, part):
            measure.add(len(block), len(block.translate(None, CONTINUATION)), width_of_utf8(block))
        needed += part.chars if part.ascii else measure.needed(part, kind)
    return needed


def width_of_utf8(block: bytes) -> int:
    """Return the bytes that CPython spends on each character of a text in UTF-8, for its widest one."""
    if any(lead in block for lead in ASTRAL):
        return 4
    return 2 if block.translate(None, NARROW) else 1


def width(text: str) -> int:
    """Return the same of a text that was decoded just now, which shows it by its size."""
    if len(text) >= SHOWING_CHARS:
        return sys.getsizeof(text) // len(text)
    widest = max(text, default="")
    return 4 if widest > "\uffff" else 2 if widest > "\xff" else 1


def _blocks(text: BinaryIO, part: Part) -> Iterator[bytes]:
    text.seek(part.start)
    left = part.bytes
    while left and (block := text.read(min(BLOCK, left))):
        left -= len(block)
        yield block


def size_in_words(count: int) -> str:
    """Return a number of bytes as a message shows it."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.2f} MB"


def available(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes of memory that this process can still use: the system's, or its cgroup's if that is less.

    Where there is no `/proc`, the machine's whole memory.
    """
    return min([_system(proc), *_cgroup_limits(proc, cgroups)])


def _system(proc: Path) -> int:
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield what each cgroup above this process leaves. Inside a container its own cgroup is often the mounted root."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit_name, usage_name, cache_name = cgroups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, cache_name = cgroups / "memory", "total_inactive_file"
            limit_name, usage_name = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        leaf = Path(path.lstrip("/"))
        for folder in (leaf, *leaf.parents):
            limit = _number(root / folder / limit_name)
            used = _number(root / folder / usage_name)
            if limit is not None and used is not None:
                # Files in the page cache count as usage, though the kernel gives them up when memory is wanted.
                yield max(limit - used + _cache(root / folder / "memory.stat", cache_name), 0)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # `max` is no number
        return None


def _cache(file: Path, name: str) -> int:
    try:
        return int(dict(line.split() for line in file.read_text().splitlines()).get(name, 0))
    except (OSError, ValueError):
        return 0
