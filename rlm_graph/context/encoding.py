"""Bytes of any encoding become UTF-8, a block at a time, and whatever was done to them is noted."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from rlm_graph.context.draft import Draft
from rlm_graph.context.memory import BLOCK

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

FALLBACK = "latin-1"
"""Every byte has a character in it, so nothing is lost: `text.encode("latin-1")` gives the bytes back."""


class BinaryFile(Exception):
    """The file holds NUL bytes and binary files were not wanted."""


def copy(
    file: BinaryIO, draft: Draft, name: str | None, *, charset: str | None = None, text_only: bool = False
) -> list[str]:
    """Add `file` to `draft` as the text `name`; return what was done to it, in words.

    The encoding is that of its byte order mark, else `charset` if the sender declared one, else UTF-8, and latin-1
    for what is none of these. Line ends stay as they are, and so do lone surrogates, which some programs write
    into UTF-8 and UTF-16. Raises `BinaryFile` under `text_only`; the draft is then as before.
    """
    head = file.read(4)
    tried: list[str] = []
    for encoding, skip in _candidates(head, charset):
        file.seek(skip)
        try:
            with draft.part(name):
                nul = _copy_as(encoding, _blocks(file), draft, text_only=text_only)
        except UnicodeError:  # some codecs raise no narrower one
            tried.append(encoding)
            continue
        return list(_done(encoding, skip, tried, nul=nul))
    raise AssertionError("latin-1 decodes everything")


def _candidates(head: bytes, charset: str | None) -> Iterator[tuple[str, int]]:
    """Yield encodings in the order of trying, each with the bytes of the mark to skip."""
    yield from ((encoding, len(mark)) for mark, encoding in MARKS if head.startswith(mark))
    if charset is not None and _is_known(charset):
        yield codecs.lookup(charset).name, 0
    yield "utf-8", 0
    yield FALLBACK, 0


def _is_known(charset: str) -> bool:
    try:
        # Python also has codecs that are no character sets (`zlib`, `rot13`); `encode` refuses those.
        "a".encode(charset)
    except (LookupError, ValueError):
        return False
    return True


def _copy_as(encoding: str, blocks: Iterable[bytes], draft: Draft, *, text_only: bool) -> bool:
    """Write the blocks as UTF-8 and tell whether a NUL was among them."""
    nul = False
    for data, chars in _utf8(blocks) if encoding == "utf-8" else _recoded(blocks, encoding):
        nul = nul or b"\0" in data
        if nul and text_only:
            raise BinaryFile
        draft.write(data, chars=chars)
    return nul


def _utf8(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Pass valid UTF-8 through as it is, each block with the characters that end in it."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    for block in blocks:
        if block.isascii() and not decoder.getstate()[0]:
            yield block, len(block)
        else:
            yield block, len(decoder.decode(block))
    decoder.decode(b"", True)


def _recoded(blocks: Iterable[bytes], encoding: str) -> Iterator[tuple[bytes, int]]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass" if encoding.startswith("utf-") else "strict")
    for block in blocks:
        text = decoder.decode(block)
        yield text.encode("utf-8", "surrogatepass"), len(text)
    text = decoder.decode(b"", True)
    yield text.encode("utf-8", "surrogatepass"), len(text)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def _done(encoding: str, skip: int, tried: list[str], *, nul: bool) -> Iterator[str]:
    if tried:
        yield f"decoded as {encoding} because it is not {' or '.join(dict.fromkeys(name.upper() for name in tried))}"
    elif encoding != "utf-8":
        yield f"decoded from {encoding.upper()}"
    if skip and encoding == "utf-8":
        yield "its byte order mark was dropped"
    if nul:
        yield "holds NUL characters, so it may be binary"
