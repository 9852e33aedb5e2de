"""Texts of a context where they lie: in a file that is mapped and shared, and copied only for what is looked at."""

from __future__ import annotations

import errno
import functools
import mmap
import os
import platform
import struct
import sys
import sysconfig
from typing import Any, TypeVar

if sys.platform == "linux":  # elsewhere contexts are copied, or are in no file
    import ctypes

OLDEST, NEWEST = (3, 8), (3, 13)
"""Versions of CPython whose texts have been seen to work over a map. Others get a copy."""

_PAGE = mmap.PAGESIZE
_HASH = 3
"""Which word of a text's head is its hash."""
_NO_HASH = (1 << 64) - 1
_READ, _WRITE = 1, 2
_PRIVATE, _FIXED, _ANONYMOUS, _UNTAKEN = 0x02, 0x10, 0x20, 0x100000
_FAILED = (1 << 64) - 1
_FOREVER = 1 << 60
"""A count of references that never comes down to zero."""

SHARED_SLICE_CHARS = 16 << 20
"""Of a slice that is not copied. Behind its end stands what follows in the text, and not a zero: the compiler, which
reads texts as C does, would take it for longer, so a slice that might be a program is a copy."""

GUARDED_END = 0x40 << 32
"""Addresses below it are where pieces lie, from half of it on. Nothing else does, on any machine of ours."""
_guarded = GUARDED_END // 2
"""Where the next one goes."""

_kept: list[Any] = []
"""The heads of texts, which must stay where they are."""
_places: dict[int, int] = {}
"""Where the characters of these texts are, by their ids."""
_lent: dict[int, tuple[int, int]] = {}
"""Where the own characters of slices are that were lent others, and how many they are, by their ids."""


class _Text(str):
    """What a text looks like whose characters lie elsewhere than behind its head: all subclasses' do."""


def mapped(file: int, start: int, size: int) -> mmap.mmap | bytes:
    """Map `size` bytes of a file from `start` on, which need not be at a page, and nothing of what lies around them.

    What shares their first and last page reads as zeros. The bytes begin at `start % mmap.PAGESIZE` of the map, which
    keeps no descriptor of the file, as those that Python makes of a file do. Raises `OSError`.
    """
    before = start % _PAGE
    if sys.platform != "linux":  # where nothing is confined
        return mmap.mmap(file, before + size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ, offset=start - before)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    found = mmap.mmap(-1, before + size, flags=flags, prot=mmap.PROT_READ)
    own, (place, length) = _address(found), _laid_out(file, start, size)
    words = _words(id(found), mmap.mmap.__basicsize__)
    if words.count(own) != 1 or words[words.index(own) + 1] != before + size:  # another Python keeps its maps otherwise
        copied = ctypes.string_at(place, before + size)
        _libc.munmap(ctypes.c_void_p(place), ctypes.c_size_t(length))
        return copied
    ctypes.c_uint64.from_address(id(found) + 8 * words.index(own)).value = place
    _libc.munmap(ctypes.c_void_p(own), ctypes.c_size_t(before + size))
    return found


def ascii_text(file: int, start: int, size: int) -> str | None:
    """Return `size` bytes of a file as a text whose characters are the map's own: nothing is read, nothing is copied.

    The bytes must be ASCII. None where this Python's texts are not known to be able to do that. Such a text is never
    given back: it is meant for what a REPL holds until it ends. Raises `OSError`.
    """
    head = _head()
    if head is None or not size:
        return None
    # A page more: behind a text stands a zero, which C's readers of texts look for.
    room, _ = _laid_out(file, start, size, behind=_PAGE)
    text = _text(head, room + start % _PAGE, size)
    _places[id(text)] = room + start % _PAGE
    return text


SliceT = TypeVar("SliceT", bound=str)


def slice_of(text: str, start: int, stop: int, kind: type[SliceT]) -> SliceT | None:
    """Return a long slice of such a text, as a `kind` of text of its own, over the same characters.

    The `kind` is a subclass, and its `__del__` calls `give_back`. None where the slice must be copied.
    """
    place, head = _places.get(id(text)), _head()
    if place is None or head is None or stop - start < SHARED_SLICE_CHARS:
        return None
    own = "own"
    found = kind(own)
    words = _words(id(found), str.__basicsize__)
    places = {words[index] for index, word in enumerate(head) if word is None}
    if len(places) != 1 or any(words[index] != len(own) for index, word in enumerate(head) if word == -1):
        return None
    _lent[id(found)] = places.pop(), len(own)
    _move(found, head, place + start, stop - start)
    return found


def give_back(found: str) -> None:
    """Have a slice hold its own characters again, so that it can go."""
    own, head = _lent.pop(id(found), None), _head()
    if own is not None and head is not None:
        _move(found, head, *own)


def _move(text: str, head: list[int | None], place: int, length: int) -> None:
    ctypes.c_uint64.from_address(id(text) + 8 * _HASH).value = _NO_HASH
    for index, word in enumerate(head):
        if word is None or word == -1:
            ctypes.c_uint64.from_address(id(text) + 8 * index).value = place if word is None else length


@functools.cache
def _head() -> list[int | None] | None:
    """Return the words of a text's head, with None where the place of its characters stands, and -1 for the length.

    Found by looking at a text whose place and length are known, so that another layout is noticed, not assumed.
    """
    known = (
        sys.platform == "linux"
        and platform.python_implementation() == "CPython"
        and OLDEST <= sys.version_info[:2] <= NEWEST
        and sys.maxsize > 1 << 32
        and sys.byteorder == "little"
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and not hasattr(sys, "gettotalrefcount")
    )
    if not known:
        return None
    sample = _Text("a text of some length")
    own_hash, length = hash(sample), len(sample)  # the head knows its hash from now on
    words = _words(id(sample), str.__basicsize__)
    places = [index for index, word in enumerate(words) if word == words[-1]]
    lengths = [index for index, word in enumerate(words) if word == length]
    as_known = len(places) == 2 and len(lengths) == 2 and words[1] == id(_Text) and _signed(words[_HASH]) == own_hash
    if not as_known or ctypes.string_at(words[-1], length + 1) != str.encode(sample) + b"\0":
        return None
    head: list[int | None] = list(words)
    for index in places:
        head[index] = None
    for index in lengths:
        head[index] = -1
    head[0] = _words(id(None), 8)[0] if sys.version_info >= (3, 12) else _FOREVER  # what Python never frees
    head[1] = id(str)
    head[_HASH] = _NO_HASH
    return head


def _text(head: list[int | None], place: int, length: int) -> str:
    words = [place if word is None else length if word == -1 else word for word in head]
    kept = ctypes.create_string_buffer(struct.pack(f"<{len(words)}Q", *words))
    _kept.append(kept)
    text: str = ctypes.cast(ctypes.addressof(kept), ctypes.py_object).value
    return text


def _words(address: int, size: int) -> list[int]:
    return list(struct.unpack(f"<{size // 8}Q", ctypes.string_at(address, size)))


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _laid_out(file: int, start: int, size: int, *, behind: int = 0) -> tuple[int, int]:
    """Return where some bytes of a file lie in memory, from `start % _PAGE` of it on, and how much memory that is.

    Pages of theirs alone are the file's. The others are copies, with zeros around the bytes: what is dropped of a page
    of the file's comes back as the file has it. `behind` are zeros too.
    """
    before = start % _PAGE
    end = before + size
    length = -(-end // _PAGE) * _PAGE + behind
    first, last = -(-before // _PAGE) * _PAGE, end // _PAGE * _PAGE
    is_piece = start > 0 or size < os.fstat(file).st_size
    room = _guarded_room(length) if is_piece else None
    if last <= first or (is_piece and room is None):
        first = last = end
    if room is None:
        room = _mmap(None, length, _READ | _WRITE, _PRIVATE | _ANONYMOUS, -1, 0)
    if first < last:
        _mmap(room + first, last - first, _READ, _PRIVATE | _FIXED, file, start - before + first)
    for begin, stop in ((before, first), (last, end)):
        _copy(file, start - before + begin, room + begin, stop - begin)
    if _libc.mprotect(ctypes.c_void_p(room), ctypes.c_size_t(length), _READ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return room, length


def _guarded_room(length: int) -> int | None:
    """Return room for a piece where confined code can neither move nor enlarge what is mapped; None if there is none.

    A map that grows shows what follows in its file. See `LEAST_MOVED` of the confinement.
    """
    global _guarded
    try:
        room = _mmap(_guarded, length, _READ | _WRITE, _PRIVATE | _ANONYMOUS | _UNTAKEN, -1, 0)
    except OSError:
        return None
    if room != _guarded or room + length > GUARDED_END:  # before Linux 4.17 the address is no more than a wish
        _libc.munmap(ctypes.c_void_p(room), ctypes.c_size_t(length))
        return None
    _guarded += length
    return room


def _copy(file: int, offset: int, address: int, count: int) -> None:
    while count > 0:
        data = os.pread(file, min(count, 1 << 20), offset)
        if not data:
            raise OSError(errno.EIO, "the file is shorter than it was")
        ctypes.memmove(address, data, len(data))
        offset, address, count = offset + len(data), address + len(data), count - len(data)


def _mmap(address: int | None, length: int, rights: int, flags: int, file: int, offset: int) -> int:
    found: int = _libc.mmap(
        ctypes.c_void_p(address), ctypes.c_size_t(length), rights, flags, file, ctypes.c_longlong(offset)
    )
    if found == _FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def _address(found: mmap.mmap) -> int:
    class Buffer(ctypes.Structure):
        """As much of a `Py_buffer` as is looked at, and room for the rest of it."""

        _fields_ = (("buf", ctypes.c_void_p), ("rest", ctypes.c_byte * 128))

    buffer = Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(found), ctypes.byref(buffer), 0)
    address: int = buffer.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return address


if sys.platform == "linux":
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.mmap.restype = ctypes.c_size_t
