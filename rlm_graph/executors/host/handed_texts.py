"""Texts that code hands over by naming them: what a sandbox says of them is checked against what it was given."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rlm_graph.bridge import in_thread
from rlm_graph.executors.base import HandedText, HostCall
from rlm_graph.executors.host.reports import NamedText, ReportedCall
from rlm_graph.executors.sandbox.frames import MAX_SENT_BYTES
from rlm_graph.handed import ReadingRoom, TextAt, WholeContext, begins_inside, characters
from rlm_graph.state import ContextRef

OWN = 0
"""Stands in the place of a context's number for what was sent beside the call."""
BY_PLACE = ("context", "contexts")
"""Arguments of a question to an agent whose texts are handed on as the places where they lie. All others are read."""

MAX_COUNTED_BYTES = 64 << 30
"""Of the texts of one call whose characters are counted."""

Fetch = Callable[[int, int], Awaitable[bytes]]
"""Returns some of what was sent beside a call, from a byte on; nothing when there is no more."""


class BadText(ValueError):
    """Code named a text that it was not given."""


class _Given(NamedTuple):
    ref: ContextRef
    folder: Path


class GivenContexts:
    """The contexts of one run, as its sandbox numbers them."""

    def __init__(self) -> None:
        self._given: dict[int, _Given] = {}
        self._parts: dict[int, Sequence[Mapping[str, Any]]] = {}
        self._room = ReadingRoom()

    def add(self, number: int, ref: ContextRef, folder: Path) -> None:
        """Note that the sandbox has a context under that number."""
        if self._given.get(number) != (ref, folder):
            self._given[number] = _Given(ref, folder)
            self._parts.pop(number, None)

    async def call(self, reported: ReportedCall, fetch: Fetch, files: AsyncExitStack) -> HostCall:
        """Return a call with its texts in their places, or the places where they lie.

        What was sent beside it goes into a file, which lasts as long as `files`, and so does its room for what is read:
        calls wait until others have left some. Raises `BadText`.
        """
        call = HostCall.model_construct(  # what was reported has been checked
            id=reported.id,
            function=reported.function,
            arguments=reported.arguments,
            nth=reported.nth,
            readings=reported.readings,
            ahead=reported.ahead,
        )
        if not reported.texts:
            return call
        call = call.model_copy(update={"plain": reported.arguments, "named": reported.named()})
        try:
            await files.enter_async_context(self._room.taken(self._bytes_to_read(reported)))
        except ValueError as error:
            raise BadText(str(error)) from None
        sent = None if reported.sent is None else await _received(reported, fetch, files)
        return await in_thread(self._filled, call, reported.texts, sent)

    def _bytes_to_read(self, call: ReportedCall) -> int:
        size = 0
        for named in call.texts:
            given = self._given.get(named.context)
            if not _is_by_place(call.function, named):
                size += named.bytes if named.part is not None or given is None else given.ref.bytes
        return size

    def _filled(self, call: HostCall, texts: Sequence[NamedText], sent: Path | None) -> HostCall:
        arguments: Any = json.loads(json.dumps(call.arguments))  # a copy to be filled: frames are JSON
        handed: list[HandedText] = []
        count = _Count()
        for named in texts:
            found = self._found(named, sent, count)
            path = tuple(named.path)
            if not _is_by_place(call.function, named):
                _put(arguments, path, found.read())
            else:
                _put(arguments, path, "")
                handed.append(HandedText(path, found))
        return call.model_copy(update={"arguments": arguments, "handed": tuple(handed)})

    def _found(self, named: NamedText, sent: Path | None, count: _Count) -> TextAt | WholeContext:
        if named.context == OWN:
            if sent is None:
                raise BadText("a text that was not sent")
            return count.checked(TextAt(sent, named.start, named.bytes, named.chars), sent.stat().st_size)
        given = self._given.get(named.context)
        if given is None:
            raise BadText(f"a piece of context {named.context}, which this run does not have")
        if named.part is None:
            return WholeContext(given.ref, given.folder)
        parts = self._parts_of(named.context)
        if named.part >= len(parts):
            raise BadText(f"part {named.part} of context {named.context}, which has {len(parts)}")
        part = parts[named.part]
        text = TextAt(
            given.folder / "text", part["start"] + named.start, named.bytes, named.bytes, of=given.ref.sha256
        )  # fmt: skip
        if named.start + named.bytes > part["bytes"]:
            raise BadText(f"a piece that ends behind part {named.part} of context {named.context}")
        if part["ascii"]:
            return text
        if named.bytes == part["bytes"]:
            return TextAt(text.file, text.start, text.size, part["chars"], of=text.of)
        return count.checked(text, part["start"] + part["bytes"])

    def _parts_of(self, number: int) -> Sequence[Mapping[str, Any]]:
        if number not in self._parts:
            self._parts[number] = json.loads((self._given[number].folder / "index.json").read_bytes())["parts"]
        return self._parts[number]


def _is_by_place(function: str, named: NamedText) -> bool:
    return function.startswith("rlm_query") and named.path[0] in BY_PLACE


class _Count:
    """What is left to be counted of the texts of one call."""

    def __init__(self) -> None:
        self._left = MAX_COUNTED_BYTES

    def checked(self, text: TextAt, end: int) -> TextAt:
        """See `_checked`. Raises `BadText`, too, if that takes for ever."""
        self._left -= text.size
        if self._left < 0:
            raise BadText(f"texts of more than {MAX_COUNTED_BYTES:,} bytes together; ask in parts")
        return _checked(text, end)


def _checked(text: TextAt, end: int) -> TextAt:
    """Return a text with its characters counted. Raises `BadText` if it is not made of whole ones."""
    if text.start + text.size > end:
        raise BadText("a piece that ends behind its text")
    try:
        with text.file.open("rb") as file:
            for place in (text.start, text.start + text.size):
                file.seek(place)
                if place < end and begins_inside(file.read(1)):
                    raise BadText("a piece that begins or ends inside a character")
        chars = 0
        for block in text.blocks():
            block.decode("utf-8", "surrogatepass")
            chars += characters(block)
    except UnicodeDecodeError:
        raise BadText("a text that is not in UTF-8") from None
    return TextAt(text.file, text.start, text.size, chars, of=text.of)


def _put(arguments: Any, path: Sequence[str | int], value: Any) -> None:
    """Put a value where the arguments have None. Raises `BadText` if they have something else there."""
    *way, last = path
    try:
        for step in way:
            arguments = arguments[step]
        there = arguments[last]
    except (KeyError, IndexError, TypeError):
        raise BadText(f"a text for a place that the arguments do not have: {list(path)[:5]}") from None
    if there is not None:
        raise BadText(f"a text for a place that is taken: {list(path)[:5]}")
    arguments[last] = value


async def _received(call: ReportedCall, fetch: Fetch, files: AsyncExitStack) -> Path:
    """Take what was sent beside a call into a file. Raises `BadText` if it is not what was said."""
    if not 0 <= call.sent_bytes <= MAX_SENT_BYTES:
        raise BadText("more than can be sent")
    try:
        descriptor, name = tempfile.mkstemp(prefix="rlm-graph-")
        path = Path(name)
        files.callback(path.unlink, missing_ok=True)
        digest, size = hashlib.sha256(), 0
        with os.fdopen(descriptor, "wb") as file:  # no descriptor is kept: a run may have hundreds of such calls
            while size < call.sent_bytes and (data := await fetch(call.id, size)):
                size += len(data)
                if size > call.sent_bytes:
                    break
                await in_thread(file.write, data)
                digest.update(data)
    except OSError as error:
        raise BadText(f"a text of it cannot be kept: {error.strerror or error}") from error
    if size != call.sent_bytes or digest.hexdigest() != call.sent:
        raise BadText("what was sent beside the call is not what it says")
    return path


def decoded(data: str) -> bytes:
    """Return what stands in a frame in base64. Raises `BadText`."""
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise BadText("no base64") from None
