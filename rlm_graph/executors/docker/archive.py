"""What is put into a container, as tar streams: made piece by piece, so that a gigabyte never lies in memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_graph.executors.host.bundle import bundle, file_name
from rlm_graph.executors.host.packing import packed

if TYPE_CHECKING:
    from docker import APIClient

PIECE_BYTES = 1 << 20
CONTEXTS = "contexts"
_END = bytes(2 * tarfile.BLOCKSIZE)


def bundle_archive() -> bytes:
    """Return the worker's bundle, which every user may read, and a folder for contexts, which only root may enter."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(_folder(CONTEXTS))
        entry = tarfile.TarInfo(file_name())
        entry.size, entry.mode = len(bundle()), 0o444
        tar.addfile(entry, io.BytesIO(bundle()))
    return packed.getvalue()


class ContextArchive:
    """A context of the store, to be put into a folder called `name`. Raises `OSError` if it is not there.

    Its index comes last: where that is, the text is whole. Of a piece of another context only that is put there.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._start, self._size, self._index = packed(folder)
        self._text = (folder / "text").open("rb")

    def close(self) -> None:
        """Close the file."""
        self._text.close()

    def put(self, client: APIClient, container: str, path: str) -> None:
        """Copy it into a folder of a container."""
        client.put_archive(container, path, iter(self))

    def __iter__(self) -> Iterator[bytes]:
        size = left = self._size
        self._text.seek(self._start)
        yield _header(_folder(self._name))
        yield _header(self._file("text", size))
        while left and (piece := self._text.read(min(PIECE_BYTES, left))):
            left -= len(piece)
            yield piece
        yield _padding(size)
        yield _header(self._file("index.json", len(self._index))) + self._index + _padding(len(self._index))
        yield _END

    def _file(self, name: str, size: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(f"{self._name}/{name}")
        entry.size, entry.mode = size, 0o400
        return entry


def _folder(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o700
    return entry


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
