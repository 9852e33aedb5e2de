"""The stored form of a context, while it is written: all of it appears at once, under its hash, or nothing does."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from rlm_graph.context.known import KNOWN_BYTES, KnownText
from rlm_graph.context.lanes import Digest, Lane
from rlm_graph.context.memory import BLOCK, Measure, Part, size_in_words, width_of_utf8
from rlm_graph.errors import InputError, StorageError

TEXT = "text"
INDEX = "index.json"
PIECE = "piece"
"""There in the form of a context that is a piece of another one: its text is the other's, of which it has a part."""
UNFINISHED = ".unfinished-"
STALE_S = 24 * 60 * 60
"""Seconds after which an unfinished folder can only be what a crash left."""
FLUSH_BYTES = 64 << 20
"""Bytes of a text that the disk is made to take while the next ones are read."""
FICLONE = 0x40049409
"""Share the blocks of another file until either is changed (`linux/fs.h`). Btrfs and XFS can, ext4 cannot."""


class Draft:
    """Texts on their way into the store, as a context manager: leaving it without `commit` leaves nothing behind.

    `text` holds all texts one after the other in UTF-8 (lone surrogates as the three bytes that `surrogatepass`
    gives them); `index.json` tells where each lies. The SHA-256 of the two files, one after the other, is the name.
    A second thread hashes large blocks, and a third has the disk take them, while the caller reads the next.
    """

    def __init__(self, store: Path, *, memory: int) -> None:
        self.parts: list[Part] = []
        self.size = 0
        self.chars = 0
        self._store = store
        self._memory = memory
        self._measure = Measure()
        self._needs: list[Measure] = []
        self._digest = Digest()
        self._flushing = Lane(1)
        self._flushed = 0
        self._expected = 0
        self._shared = 0
        self._known: KnownText | None = None
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
        self._digest.close()
        self._flushing.close()
        if self._known is not None:
            self._known.close()
        self._text.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def part(self, name: str | None) -> Iterator[None]:
        """Make what is written inside one text. If it raises, the draft is again as it was before."""
        start, chars = self.size, self.chars
        self._digest.mark()
        self._measure = Measure()
        try:
            yield
        except BaseException:
            self.size, self.chars, self._shared = start, chars, 0
            self._digest.rewind()
            self._write_known(start)
            self._text.seek(start)
            self._text.truncate()
            raise
        length, count = self.size - start, self.chars - chars
        self.parts.append(Part(name, start, length, count, length == count))
        self._needs.append(self._measure)

    def write(self, data: bytes, *, chars: int, width: int) -> None:
        """Append UTF-8 in which `chars` characters end, of which the widest takes `width` bytes in memory."""
        self.chars += chars
        self._measure.add(len(data), chars, width)
        if self.chars > self._memory:
            raise too_large("over " + size_in_words(self.chars), self._memory)
        self._digest.add(data)
        self.size += len(data)
        if self.size <= self._shared or self._is_known(data):
            return
        self._write_whole(self._text, data)
        if self.size - self._flushed >= FLUSH_BYTES and self._flushing.is_idle:
            self._flush()

    def share(self, file: BinaryIO) -> Iterator[bytes] | None:
        """Make all of a file of UTF-8 the first text without copying it, where the file system can.

        The blocks that are returned are to be written as any others; they are there already. A later change of the file
        changes nothing of them.
        """
        try:
            size = os.fstat(file.fileno()).st_size
            if self.size or size < BLOCK:
                return None
            fcntl.ioctl(self._text.fileno(), FICLONE, file.fileno())
        except OSError:  # another file system, or one that cannot; `io.UnsupportedOperation`: no file
            return None
        self._shared = self._text.seek(0, os.SEEK_END)
        return self._blocks(0)

    def write_text(self, text: str) -> None:
        """Append a text."""
        step = 1 << 20
        for start in range(0, len(text), step):
            piece = text[start : start + step]
            data = piece.encode("utf-8", "surrogatepass")
            self.write(data, chars=len(piece), width=1 if piece.isascii() else width_of_utf8(data))

    @contextmanager
    def written(self) -> Iterator[FileIO]:
        """Open what is written so far, to be read."""
        self._write_known(self.size)
        with self._storing():
            file = FileIO(self._form / TEXT)
        with file:
            yield file

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
        self._expected = self.size + size
        if size // 4 > self._memory:
            raise too_large("over " + size_in_words(size // 4), self._memory)

    def commit(self, kind: str, *, only: str | None = None) -> str:
        """Store it and return its hash. Equal content may be there already, or come from another process meanwhile.

        Raises `InputError` if a REPL cannot hold it in memory, or if its hash is not `only`.
        """
        needed = sum(each.needed(part, kind) for each, part in zip(self._needs, self.parts, strict=True))
        if needed > self._memory:
            raise too_large(size_in_words(needed), self._memory)
        index = json.dumps({"kind": kind, "parts": [part._asdict() for part in self.parts]}).encode()
        self._digest.add(index)
        sha256 = self._digest.hexdigest()
        if only is not None and sha256 != only:
            raise InputError("its content has changed since")
        if not is_whole(self._store / sha256, self.size):
            self._write_known(self.size)
            with self._storing():
                self._publish(index, self._store / sha256)
        return sha256

    def _publish(self, index: bytes, target: Path) -> None:
        self._flushing.settle()
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

    def _blocks(self, start: int) -> Iterator[bytes]:
        while block := os.pread(self._text.fileno(), BLOCK, start):
            start += len(block)
            yield block

    def _is_known(self, data: bytes) -> bool:
        """Tell whether a text of the store begins as this one does, up to the end of `data`, which was added last."""
        start = self.size - len(data)
        with self._storing():
            if self._known is None and start == 0 and self._expected >= KNOWN_BYTES:
                self._known = KnownText.find(self._store.glob(f"[!.]*/{TEXT}"), self._expected, data)
            elif self._known is not None and not self._known.has(data, at=start):
                self._write_known(start)
        return self._known is not None

    def _write_known(self, size: int) -> None:
        """Write as much of what the store has: from there on, or in what will hold it, it is another text."""
        if self._known is None:
            return
        with self._storing(), closing(self._known) as known:
            self._known = None
            for block in known.blocks(size):
                self._write_whole(self._text, block)

    def _flush(self) -> None:
        """Have the disk take what is written so far, so that the end waits only for the rest."""
        self._flushed = self.size
        with self._storing():
            self._flushing.put(os.fsync, self._text.fileno())

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


def too_large(needed: str, memory: int) -> InputError:
    """Return the error that tells of a context for which no REPL has room."""
    return InputError(
        f"the context is too large: it would take {needed} of memory and {size_in_words(memory)} are available; "
        "give a part of it, or use a machine with more memory"
    )
