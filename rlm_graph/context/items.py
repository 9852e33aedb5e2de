"""The kinds of text that can be taken in, each with the way it is read."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rlm_graph.context import encoding, fetch
from rlm_graph.context.binary import BinaryFile
from rlm_graph.context.draft import Draft
from rlm_graph.context.memory import BLOCK, width_of_utf8
from rlm_graph.context.notes import Notes, Remark
from rlm_graph.context.url import URL
from rlm_graph.errors import InputError
from rlm_graph.fetching import Resolve, resolve
from rlm_graph.handed import TextAt, characters
from rlm_graph.settings import ContextSettings


@dataclass(frozen=True)
class Reading:
    """What the items of one store are read under."""

    settings: ContextSettings
    resolve: Resolve = resolve
    """How hosts of URLs are looked up."""


class Item(Protocol):
    """One text to take in."""

    @property
    def name(self) -> str | None:
        """What it is called in a dict."""

    def write(self, draft: Draft, notes: Notes, reading: Reading) -> None:
        """Add it to the draft, and what was done to it to the notes. Raises `InputError`, `StorageError`."""


@dataclass(frozen=True)
class TextItem:
    """A text that is in memory."""

    name: str | None
    text: str

    def write(self, draft: Draft, notes: Notes, reading: Reading) -> None:
        with draft.part(self.name):
            draft.write_text(self.text)


@dataclass(frozen=True)
class PlacedItem:
    """A text that lies in a file of ours, in the form that the store keeps."""

    name: str | None
    text: TextAt

    def write(self, draft: Draft, notes: Notes, reading: Reading) -> None:
        with draft.part(self.name):
            try:
                for block in self.text.blocks():
                    draft.write(block, chars=characters(block), width=width_of_utf8(block))
            except OSError as error:
                raise unreadable(self.text.file, error) from error


@dataclass(frozen=True)
class FileItem:
    """A file that the caller named: it must be there, and be text."""

    name: str | None
    path: Path

    def write(self, draft: Draft, notes: Notes, reading: Reading) -> None:
        try:
            mode = self.path.stat()
            if stat.S_ISREG(mode.st_mode):
                draft.expect(mode.st_size)
                with self.path.open("rb", buffering=0) as file:
                    notes.add_all(_copied(file, draft, self.name, str(self.path)), self.name)
            else:
                with self.path.open("rb") as pipe:
                    blocks = iter(lambda: pipe.read(BLOCK), b"")
                    notes.add_all(_copied(blocks, draft, self.name, str(self.path)), self.name)
        except OSError as error:
            raise unreadable(self.path, error) from error


@dataclass(frozen=True)
class FolderFileItem:
    """A file found in a folder: left out, and noted, if it is no text or cannot be read."""

    name: str
    path: Path

    def write(self, draft: Draft, notes: Notes, reading: Reading) -> None:
        try:
            with self.path.open("rb", buffering=0) as file:
                notes.add_all(encoding.copy(file, draft, self.name, text_only=True), self.name)
        except BinaryFile as error:
            notes.add(f"left out because it is {error.kind.name}", self.name)
        except OSError as error:
            notes.add(f"left out because it cannot be read ({error.strerror or error})", self.name)


@dataclass(frozen=True)
class UrlItem:
    """A file on the web."""

    name: str | None
    url: URL

    def write(self, draft: Draft, notes: Notes, reading: Reading) -> None:
        with fetch.download(self.url, reading.settings, reading.resolve) as answer:
            remarks = _copied(answer.blocks(), draft, self.name, str(self.url), charset=answer.charset)
        notes.add_all(remarks, self.name)


@dataclass(frozen=True)
class BytesItem:
    """A file that is in memory."""

    name: str | None
    data: bytes

    def write(self, draft: Draft, notes: Notes, reading: Reading) -> None:
        what = "the context" if self.name is None else f"the context's {self.name!r}"
        notes.add_all(_copied(io.BytesIO(self.data), draft, self.name, what), self.name)


@dataclass(frozen=True)
class StreamItem:
    """A stream of bytes or of text, such as standard input."""

    name: str | None
    stream: Any

    def write(self, draft: Draft, notes: Notes, reading: Reading) -> None:
        stream = getattr(self.stream, "buffer", self.stream)
        notes.add_all(_copied(_stream_blocks(stream), draft, self.name, "the stream"), self.name)


def _copied(
    given: io.FileIO | io.BytesIO | Iterator[bytes],
    draft: Draft,
    name: str | None,
    what: str,
    charset: str | None = None,
) -> list[Remark]:
    """Add a file that was named, or the blocks of what can be read only once. Raises `InputError` if it is no text."""
    try:
        if isinstance(given, io.FileIO | io.BytesIO):
            return encoding.copy(given, draft, name, charset=charset)
        return encoding.copy_stream(given, draft, name, charset=charset)
    except BinaryFile as error:
        raise InputError(f"{what} is {error.kind.name}, not text: {error.kind.advice}") from None


def _stream_blocks(stream: Any) -> Iterator[bytes]:
    try:
        while block := stream.read(BLOCK):
            yield block.encode("utf-8", "surrogatepass") if isinstance(block, str) else block
    except (OSError, UnicodeError) as error:
        raise InputError(f"the stream cannot be read: {error}; give a file") from error


def unreadable(path: Path, error: Exception) -> InputError:
    """Say why a named path cannot be used."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path} does not exist; check the path")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(f"{path} cannot be read: {reason}; check the path and its permissions")
