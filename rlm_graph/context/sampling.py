"""What a file of any size is judged by: pieces from several places of it, in bounded memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

from rlm_graph.context.lenient import BAD, LENIENT

SPOTS = 16
SPOT_BYTES = 4096
WINDOWS = 32
"""The most pieces of a survey. When there are more, every second one goes, and from then on every second is taken."""
WINDOW_BYTES = 2048
LEAD_BYTES = 200
"""Bytes before the first one beyond ASCII that go with it: the words around it are evidence too."""
PER_BLOCK = 8

_BEYOND = re.compile(rb"[\x80-\xff]")
_NOT_ASCII = re.compile("[^\0-\x7f]")
_STRONG = re.compile("[\xa0-\u017f\u0800-\U0010fffe]")
_ENDS = re.compile(rb"[\n ]")
"""Bytes that are no part of a longer character, in any encoding of text that has ASCII in it."""


class Survey(NamedTuple):
    """How far a file is UTF-8, and pieces of it that hold bytes beyond ASCII."""

    good: int
    """Characters beyond ASCII that are UTF-8."""
    strong: int
    """Those of them that other encodings hardly ever look like: Latin letters, and what takes three bytes or more."""
    bad: int
    """Places whose bytes are not."""
    cut: int
    """Bytes at the end of the file that begin a character of UTF-8; the place counts as bad."""
    sample: bytes


def spots(file: BinaryIO, start: int = 0) -> bytes:
    """Return pieces from all over a file from `start` on, each at a multiple of four bytes; all if it is small."""
    size = file.seek(0, 2) - start
    file.seek(start)
    if size <= SPOTS * SPOT_BYTES:
        return file.read(SPOTS * SPOT_BYTES)
    pieces = []
    for number in range(SPOTS):
        file.seek(start + (size - SPOT_BYTES) * number // (SPOTS - 1) // 4 * 4)
        pieces.append(file.read(SPOT_BYTES))
    return b"".join(pieces)


def survey(blocks: Iterable[bytes]) -> Survey:
    """Read all of a file and judge how far it is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")(LENIENT)
    good, strong, bad = 0, 0, 0
    windows: list[bytes] = []
    stride, passed = 1, 0
    for block in blocks:
        if block.isascii() and not decoder.getstate()[0]:
            continue
        text = decoder.decode(block)
        wrong = text.count(BAD)
        good, bad = good + len(_NOT_ASCII.findall(text)) - wrong, bad + wrong
        strong += len(_STRONG.findall(text))
        for window in _windows(block):
            passed += 1
            if passed % stride == 0:
                windows.append(window)
        while len(windows) > WINDOWS:
            windows, stride = windows[::2], stride * 2
    cut = len(decoder.getstate()[0])
    bad += decoder.decode(b"", True).count(BAD)
    return Survey(good, strong, bad, cut, b"\n".join(windows))


def _windows(block: bytes) -> list[bytes]:
    """Return pieces of a block that hold bytes beyond ASCII, a few from all over it, each of whole words."""
    found, at = [], 0
    while (match := _BEYOND.search(block, at)) is not None:
        start = match.start()
        lead = block[max(0, at, start - LEAD_BYTES) : start]
        start -= len(lead) - 1 - max(lead.rfind(b"\n"), lead.rfind(b" ")) if _ENDS.search(lead) else 0
        piece = block[start : start + WINDOW_BYTES]
        whole = max(piece.rfind(b"\n"), piece.rfind(b" ")) + 1 if len(piece) == WINDOW_BYTES else 0
        found.append(piece[:whole] or piece)
        at = max(start + len(found[-1]), match.start() + len(block) // PER_BLOCK)
    return found
