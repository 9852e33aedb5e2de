"""Bytes of any encoding become UTF-8, a block at a time, and whatever was done to them is noted."""

from __future__ import annotations

import codecs
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rlm_graph.context import charsets
from rlm_graph.context.binary import HEAD, UNKNOWN, BinaryFile, kind_of, looks_binary
from rlm_graph.context.draft import Draft
from rlm_graph.context.lenient import BAD, LENIENT
from rlm_graph.context.memory import BLOCK, width
from rlm_graph.context.notes import Remark
from rlm_graph.context.sampling import SPOT_BYTES, SPOTS, Survey, spots, survey

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

REPLACED = "\ufffd"
SMALL = SPOTS * SPOT_BYTES
"""A file of no more bytes is read once, and judged and decoded in memory."""
SLICE_BYTES = 1 << 14
"""Bytes that are decoded at once only to be counted. As a `str` of the widest characters they take 64 KiB: beyond 128
KiB, the C library has the kernel give and take the memory of each, which takes four times as long as decoding."""


def copy(
    file: BinaryIO, draft: Draft, name: str | None, *, charset: str | None = None, text_only: bool = False
) -> list[Remark]:
    """Add `file` to `draft` as the text `name`; return what was done to it.

    The encoding is that of its byte order mark, else `charset` if the sender declared one, else UTF-8 if it has more
    of its characters than of bytes that are none, else what its bytes are evidence for. Bytes that are no character of
    it are replaced and counted. Line ends stay as they are, and so do lone surrogates, which some programs write into
    UTF-8 and UTF-16. Raises `BinaryFile` for what is no text, and under `text_only` for what holds a NUL too; the draft
    is then as before.
    """
    file.seek(0)
    head = file.read(SMALL + 1)
    if len(head) <= SMALL:
        file = io.BytesIO(head)
    head = head[:HEAD]
    if (kind := kind_of(head)) is not None:
        raise BinaryFile(kind)
    tried: list[str] = []
    for choice in _choices(file, head, charset):
        file.seek(choice.skip)
        try:
            with draft.part(name):
                shared = draft.share(file) if choice.passes and not choice.skip else None
                told = _copy_as(choice, shared or _blocks(file), draft, text_only=text_only)
        except UnicodeError:  # some codecs raise no narrower one
            tried.append(choice.encoding)
            continue
        return list(_remarks(choice, tried, told))
    raise AssertionError("latin-1 decodes everything")


def copy_stream(blocks: Iterator[bytes], draft: Draft, name: str | None, *, charset: str | None = None) -> list[Remark]:
    """Add what can be read only once as `copy` does.

    UTF-8 goes straight into the draft; what turns out to be anything else is kept beside it, to be read again. `blocks`
    raises no `UnicodeError`.
    """
    beginning = _beginning(blocks)
    if len(beginning) <= SMALL:
        return copy(io.BytesIO(beginning), draft, name, charset=charset)
    if (kind := kind_of(beginning[:HEAD])) is not None:
        raise BinaryFile(kind)
    try:
        with draft.part(name):
            return _copy_utf8(beginning, blocks, draft, charset)
    except _NotUTF8 as other:
        with other.kept.open("rb", buffering=0) as file:
            return copy(file, draft, name, charset=charset)


def decoded(data: bytes) -> str:
    """Return a short text whose encoding nobody has said, such as an argument of a command."""
    found = survey([data])
    return data.decode("utf-8" if _is_utf8(found) else charsets.judge(found.sample), "replace")


class _Choice(NamedTuple):
    """An encoding to try."""

    encoding: str
    skip: int = 0
    """Bytes of the mark in front."""
    max_bad: float = 0
    """The share of characters that may have to be replaced."""
    is_said: bool = False
    """A mark or the sender says so."""

    @property
    def passes(self) -> bool:
        """Whether the bytes stay what they are."""
        return self.encoding == "utf-8" and not self.max_bad


class _Told(NamedTuple):
    bad: int
    nul: bool


def _choices(file: BinaryIO, head: bytes, charset: str | None) -> Iterator[_Choice]:
    """Yield encodings in the order of trying; each is asked for only once those before have not fitted."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            yield _Choice(encoding, len(mark), is_said=True)
            yield _Choice(encoding, len(mark), 0.02, is_said=True)
    if charset is not None and _is_known(charset):
        yield _Choice(codecs.lookup(charset).name, is_said=True)
    pieces = spots(file)
    if (wide := charsets.wide(pieces)) is not None:
        yield _Choice(wide, max_bad=0.02)
    yield _Choice("utf-8")
    found = survey(_blocks_of(file))
    if _is_utf8(found):
        yield _Choice("utf-8", max_bad=1)
    if looks_binary(pieces):
        raise BinaryFile(UNKNOWN)
    yield _Choice(charsets.judge(found.sample), max_bad=0.02)
    yield _Choice(charsets.FALLBACK)


def _is_utf8(found: Survey) -> bool:
    """Tell whether a file that is not whole UTF-8 is UTF-8 all the same, with bytes that a cut or a mistake left.

    Text of another encoding has some sequences that UTF-8 has too, beside more that it has not; a Chinese one has up to
    as many, of letters that are rare. None ends in the beginning of a character that is cut by the end of the file.
    """
    weak = found.good - found.strong
    enough = found.good >= 4 * found.bad or found.strong >= found.bad + weak
    return (found.good > 0 and enough) or (found.bad == 1 and found.cut >= 2)


def _is_known(charset: str) -> bool:
    try:
        # Python also has codecs that are no character sets (`zlib`, `rot13`); `encode` refuses those.
        "a".encode(charset)
    except (LookupError, ValueError):
        return False
    return True


def _copy_as(choice: _Choice, blocks: Iterable[bytes], draft: Draft, *, text_only: bool = False) -> _Told:
    """Write the blocks as UTF-8. Raises `UnicodeError` if more of them is bad than the choice allows."""
    nul, bad, chars = False, 0, 0
    for block in _utf8(blocks) if choice.passes else _recoded(blocks, choice):
        nul, bad, chars = nul or b"\0" in block.data, bad + block.bad, chars + block.chars
        if nul and text_only:
            raise BinaryFile(UNKNOWN)
        draft.write(block.data, chars=block.chars, width=block.width)
    if bad > 1 + choice.max_bad * chars:
        raise UnicodeError(f"{bad:,} of {chars:,} characters are not {choice.encoding}")
    return _Told(bad, nul)


class _NotUTF8(Exception):
    """A stream is, or may be, in another encoding."""

    def __init__(self, kept: Path) -> None:
        super().__init__(kept)
        self.kept = kept
        """All of it."""


def _copy_utf8(beginning: bytes, blocks: Iterator[bytes], draft: Draft, charset: str | None) -> list[Remark]:
    """Write a stream that is UTF-8 and nothing that is tried before it. Raises `_NotUTF8`."""
    choice = _Choice("utf-8")
    said = codecs.lookup(charset).name if charset is not None and _is_known(charset) else None
    start, unwritten = draft.size, [beginning]
    try:
        if said not in (None, choice.encoding) or beginning.startswith(tuple(mark for mark, _ in MARKS)):
            raise UnicodeError("a mark or the sender says so")
        told = _copy_as(choice, _watched(blocks, unwritten), draft)
        with draft.written() as file:
            if said is None and charsets.wide(spots(file, start)) is not None:
                raise UnicodeError("its characters have two or four bytes each")
    except UnicodeError as error:
        with draft.written() as file:
            file.seek(start)
            raise _NotUTF8(draft.spool(itertools.chain(_blocks(file), unwritten, blocks))) from error
    return list(_remarks(choice, [], told))


class _Block(NamedTuple):
    """A piece of a text in UTF-8."""

    data: bytes
    chars: int
    """Characters that end in it."""
    width: int
    """Bytes that the widest of them takes in memory."""
    bad: int = 0
    """How many of them stand for what could not be decoded."""


def _utf8(blocks: Iterable[bytes]) -> Iterator[_Block]:
    """Pass valid UTF-8 through as it is. Raises `UnicodeError` for what is not."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    for block in blocks:
        if block.isascii() and not decoder.getstate()[0]:
            yield _Block(block, len(block), 1)
            continue
        chars, widest, view = 0, 1, memoryview(block)
        for start in range(0, len(block), SLICE_BYTES):
            text = decoder.decode(view[start : start + SLICE_BYTES])
            chars, widest = chars + len(text), max(widest, width(text))
        yield _Block(block, chars, widest)
    decoder.decode(b"", True)


def _recoded(blocks: Iterable[bytes], choice: _Choice) -> Iterator[_Block]:
    """Yield the text of the blocks in UTF-8."""
    passes = "surrogatepass" if choice.encoding.startswith("utf-") else "strict"
    decoder = codecs.getincrementaldecoder(choice.encoding)(LENIENT if choice.max_bad else passes)
    for text in _decoded(blocks, decoder):
        bad = text.count(BAD) if choice.max_bad else 0
        text = text.replace(BAD, REPLACED) if bad else text
        yield _Block(text.encode("utf-8", "surrogatepass"), len(text), width(text), bad)


def _decoded(blocks: Iterable[bytes], decoder: codecs.IncrementalDecoder) -> Iterator[str]:
    for block in blocks:
        yield decoder.decode(block)
    yield decoder.decode(b"", True)


def _beginning(blocks: Iterator[bytes]) -> bytes:
    """Return all of the blocks if that is little, else enough of them to know that it is not."""
    found = b""
    for block in blocks:
        found += block
        if len(found) > SMALL:
            break
    return found


def _watched(blocks: Iterator[bytes], unwritten: list[bytes]) -> Iterator[bytes]:
    """Yield what `unwritten` holds and the blocks. It always holds the last one, which may not have been written."""
    yield unwritten[0]
    for block in blocks:
        unwritten[:] = [block]
        yield block
    unwritten.clear()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def _blocks_of(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    return _blocks(file)


def _remarks(choice: _Choice, tried: list[str], told: _Told) -> Iterator[Remark]:
    name = charsets.label(choice.encoding)
    other = [charsets.label(encoding) for encoding in dict.fromkeys(tried) if encoding != choice.encoding]
    if other:
        yield Remark(f"decoded as {name} because it is not {' or '.join(other)}")
    elif choice.encoding != "utf-8":
        yield Remark(f"decoded from {name}{'' if choice.is_said else ', judged by its bytes'}")
    if choice.skip and choice.encoding == "utf-8":
        yield Remark("its byte order mark was dropped")
    if told.bad:
        yield Remark(f"bytes that are not {name} were replaced by U+FFFD, {{}} in all", told.bad)
    if told.nul:
        yield Remark("holds NUL characters, so it may be binary")
