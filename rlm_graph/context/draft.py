"""The stored form of a context, while it is written: all of it appears at once, under its hash, or nothing does."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from rlm_graph.context.memory import Part, exact_bytes, most_bytes, size_in_words
from rlm_graph.errors import InputError, StorageError

TEXT = "text"
INDEX = "index.json"
PIECE = "piece"
"""There in the form of a context that is a piece of another one: its text is the other's, of which it has a part."""
UNFINISHED = ".unfinished-"
STALE_S = 24 * 60 * 60
"""Seconds after which an unfinished folder can only be what a crash left."""


class Draft:
    """Texts on their way into the store, as a context manager: leaving it without `commit` leaves nothing behind.

    `text` holds all texts one after the other in UTF-8 (lone surrogates as the three bytes that `surrogatepass`
    gives them); `index.json` tells where each lies. The SHA-256 of the two files, one after the other, is the name.
    """

    def __init__(self, store: Path, *, memory: int) -> None:
        self.parts: list[Part] = []
        self.size = 0
        self.chars = 0
        self._store = store
        self._memory = memory
        self._digest = hashlib.sha256()
        self._folder = store / f"{UNFINISHED}{uuid.uuid4().hex}"
        self._form = self._folder / "form"

    def __enter__(self) -> Self:
        with self._storing():
            self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(self._store)
            try:
                self._form.mkdir(parents=True)
                self._text = open(self._form / TEXT, "w+b", buffering=0)  # closed by __exit__
            except OSError:
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._text.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def part(self, name: str | None) -> Iterator[None]:
        """Make what is written inside one text. If it raises, the draft is again as it was before."""
        start, chars, digest = self.size, self.chars, self._digest.copy()
        try:
            yield
        except BaseException:
            self.size, self.chars, self._digest = start, chars, digest
            self._text.seek(start)
            self._text.truncate()
            raise
        length, count = self.size - start, self.chars - chars
        self.parts.append(Part(name, start, length, count, length == count))

    def write(self, data: bytes, *, chars: int) -> None:
        """Append UTF-8 in which `chars` characters end."""
        self.chars += chars
        if self.chars > self._memory:
            raise _too_large("over " + size_in_words(self.chars), self._memory)
        self._digest.update(data)
        self.size += len(data)
        self._write_whole(self._text, data)

    def write_text(self, text: str) -> None:
        """Append a text."""
        step = 1 << 20
        for start in range(0, len(text), step):
            piece = text[start : start + step]
            self.write(piece.encode("utf-8", "surrogatepass"), chars=len(piece))

    def spool(self, blocks: Iterable[bytes]) -> Path:
        """Keep what can be read only once in a file that goes with the draft."""
        path, size = self._folder / uuid.uuid4().hex, 0
        with self._storing():
            file = path.open("xb", buffering=0)
        with file:
            for block in blocks:
                size += len(block)
                self.expect(size)
                self._write_whole(file, block)
        return path

    def expect(self, size: int) -> None:
        """Refuse a file of `size` bytes or more that cannot fit before all of it is read.

        No encoding spends more than four bytes on a character, and each takes at least one in memory.
        """
        if size // 4 > self._memory:
            raise _too_large("over " + size_in_words(size // 4), self._memory)

    def commit(self, kind: str, *, only: str | None = None) -> str:
        """Store it and return its hash. Equal content may be there already, or come from another process meanwhile.

        Raises `InputError` if a REPL cannot hold it in memory, or if its hash is not `only`.
        """
        if most_bytes(self.parts) > self._memory:
            needed = exact_bytes(self._text, kind, self.parts)
            if needed > self._memory:
                raise _too_large(size_in_words(needed), self._memory)
        index = json.dumps({"kind": kind, "parts": [part._asdict() for part in self.parts]}).encode()
        self._digest.update(index)
        sha256 = self._digest.hexdigest()
        if only is not None and sha256 != only:
            raise InputError("its content has changed since")
        if not is_whole(self._store / sha256, self.size):
            with self._storing():
                self._publish(index, self._store / sha256)
        return sha256

    def _publish(self, index: bytes, target: Path) -> None:
        os.fsync(self._text.fileno())
        self._text.close()
        with open(self._form / INDEX, "xb") as file:
            file.write(index)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(self._form)
        try:
            os.rename(self._form, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not is_whole(target, self.size):
                os.rename(target, self._folder / "damaged")
                os.rename(self._form, target)
        _sync_folder(self._store)

    def _write_whole(self, file: FileIO, data: bytes) -> None:
        left = memoryview(data)
        with self._storing():
            while left:  # a raw file may take only a part, as it does just before the disk is full
                left = left[file.write(left) :]

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"the context cannot be stored in {self._store}: {error.strerror or error}"
            raise StorageError(f"{what}; free some space there or set RLM_DATA_DIR to another folder") from error


def is_whole(folder: Path, size: int) -> bool:
    """Tell whether a stored form of `size` bytes of text is there."""
    try:
        return (folder / INDEX).is_file() and ((folder / TEXT).stat().st_size == size or has_piece(folder))
    except OSError:
        return False


def has_piece(folder: Path) -> bool:
    """Tell whether the stored form of a piece of another context is there, with the index that its name is of."""
    try:
        of, index = (folder / PIECE).read_text(), (folder / INDEX).read_bytes()
    except OSError:
        return False
    return piece_name(of, index) == folder.name and (folder / TEXT).is_file()


def piece_name(of: str, index: bytes) -> str:
    """Return the name of a piece of the context `of`: a hash of that and of the piece's index."""
    return hashlib.sha256(b"piece\0" + of.encode() + b"\0" + index).hexdigest()


def remove(folder: Path) -> None:
    """Remove a stored form, so that its name is gone before any of its files is."""
    doomed = folder.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    try:
        os.rename(folder, doomed)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{folder} cannot be removed: {error.strerror}; check its permissions") from error
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(store: Path) -> None:
    """Remove what crashes left. A folder in use is younger than a day in one of its files."""
    for folder in store.glob(f"{UNFINISHED}*"):
        try:
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
        except FileNotFoundError:  # its owner has just finished
            continue
        if time.time() - newest > STALE_S:
            shutil.rmtree(folder, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _too_large(needed: str, memory: int) -> InputError:
    return InputError(
        f"the context is too large: it would take {needed} of memory and {size_in_words(memory)} are available; "
        "give a part of it, or use a machine with more memory"
    )
