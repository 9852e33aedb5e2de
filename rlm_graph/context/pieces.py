"""Contexts that are pieces of stored ones: an index of their own over the same text, which no one copies."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from rlm_graph.context.draft import INDEX, PIECE, TEXT, UNFINISHED, has_piece, piece_name, remove
from rlm_graph.context.memory import Part, most_bytes
from rlm_graph.context.sources import Verbatim
from rlm_graph.errors import StorageError
from rlm_graph.handed import TextAt
from rlm_graph.state import ContextRef


def placed_chars(given: Verbatim) -> int:
    """Return how many characters the texts have that are handed over by their place, which cost nobody room so far."""
    return sum(text.chars for _, text in _laid_out(given)[1] if isinstance(text, TextAt))


def linked(given: Verbatim, store: Path, *, memory: int) -> ContextRef | None:
    """Store a context that is one piece of a stored one, in order and without gaps, and return its reference.

    Its folder has a link to the other's text, an index that tells which bytes of that are its own, and `piece`, with
    the other's name. It lasts however long the other does. None for what is no such piece, and where the file system
    has no links, and for texts that overlap and may take more than `memory` bytes together. Raises `StorageError`.
    """
    kind, named = _laid_out(given)
    texts = [text for _, text in named]
    if not texts or not all(isinstance(text, TextAt) and text.of is not None for text in texts):
        return None
    places = [text for text in texts if isinstance(text, TextAt)]
    source = places[0].file
    if not _has_no_gaps(places) or any(text.file != source for text in places) or source.parent.parent != store:
        return None
    parts = [Part(name, text.start, text.size, text.chars, text.size == text.chars) for name, text in _placed(named)]
    chars = sum(part.chars for part in parts)
    if not chars or (_overlap(places) and most_bytes(parts) > memory):
        return None
    index = json.dumps({"kind": kind, "parts": [part._asdict() for part in parts]}).encode()
    sha256 = piece_name(str(places[0].of), index)
    size = sum(part.bytes for part in parts)
    if not has_piece(store / sha256):
        try:
            _publish(source, index, str(places[0].of), store / sha256)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS):
                return None
            what = f"the context cannot be stored in {store}: {error.strerror or error}"
            raise StorageError(f"{what}; free some space there or set RLM_DATA_DIR to another folder") from error
    return ContextRef.model_validate({
        "sha256": sha256, "kind": kind, "chars": chars, "bytes": size, "parts": len(parts),
        "longest": max(part.chars for part in parts),
    })  # fmt: skip


def _laid_out(given: Verbatim) -> tuple[str, list[tuple[str | None, str | TextAt]]]:
    value = given.value
    if isinstance(value, str | TextAt):
        return "str", [(None, value)]
    if isinstance(value, Mapping):
        return "dict", list(value.items())
    return "list", [(None, text) for text in value]


def _placed(named: list[tuple[str | None, str | TextAt]]) -> Iterator[tuple[str | None, TextAt]]:
    for name, text in named:
        if isinstance(text, TextAt):
            yield name, text


def _has_no_gaps(places: list[TextAt]) -> bool:
    """Whether the texts, which may overlap, are all that lies between the first and the last: no other byte is."""
    end = min(text.start for text in places)
    for text in sorted(places, key=lambda text: text.start):
        if text.start > end:
            return False
        end = max(end, text.start + text.size)
    return True


def _overlap(places: list[TextAt]) -> bool:
    span = max(text.start + text.size for text in places) - min(text.start for text in places)
    return sum(text.size for text in places) > span


def _publish(source: Path, index: bytes, of: str, target: Path) -> None:
    draft = target.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    draft.mkdir(mode=0o700)
    try:
        os.link(source, draft / TEXT)
        (draft / PIECE).write_text(of)
        # Nothing waits for the disk: what a power cut leaves is known by its name, and is made again.
        (draft / INDEX).write_bytes(index)
        if target.exists() and not has_piece(target):
            remove(target)
        try:
            os.rename(draft, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
