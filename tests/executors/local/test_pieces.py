"""A REPL that has a piece of a context: its code reaches nothing else of the file that the piece lies in."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rlm_graph.executors.conformance.notebook import Notebook, stored
from rlm_graph.executors.local import LocalExecutor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no code is confined")

BEFORE, SIZE = 3_000_001, 2_000_003
MAP = """
import ctypes, mmap
class View(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("rest", ctypes.c_byte * 128))
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_size_t
libc.mmap.argtypes = [ctypes.c_size_t] * 2 + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_size_t] * 3 + [ctypes.c_int, ctypes.c_size_t]
libc.madvise.argtypes = [ctypes.c_size_t] * 2 + [ctypes.c_int]
FAILED, PAGE = 2**64 - 1, mmap.PAGESIZE
def start_of(held):
    view = View()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(held), ctypes.byref(view), 0)
    return view.start
held = ctx.texts[0]._data
start, pages = start_of(held), -(-len(held) // PAGE)
"""


@pytest_asyncio.fixture
async def notebook(tmp_path: Path) -> AsyncIterator[Notebook]:
    """A REPL that was given the middle of a file."""
    folder, executor = tmp_path / "context", LocalExecutor()
    reference = stored(folder, "<" * BEFORE + "b" * SIZE + ">" * 3_000_000)
    part = {"name": None, "start": BEFORE, "bytes": SIZE, "chars": SIZE, "ascii": True}
    (folder / "index.json").write_text(json.dumps({"kind": "str", "parts": [part]}))
    async with executor.attached(None) as repl:
        await repl.add_context(1, reference, folder=folder)
        yield Notebook(repl)
    await executor.close(repl.handle)


async def test_the_piece_is_whole(notebook: Notebook) -> None:
    code = "print(len(context), context.count('b'), context == 'b' * len(context), ctx.find('>'), len(ctx.slice(5)))"

    assert await notebook.printed(code) == f"{SIZE} {SIZE} True [] {SIZE - 5}\n"


@pytest.mark.parametrize(
    "code",
    [
        # No descriptor of the file is left.
        "import os, stat\n"
        "for descriptor in range(3, 256):\n"
        "    try:\n"
        "        if stat.S_ISREG(os.fstat(descriptor).st_mode): print(os.pread(descriptor, 10, 0))\n"
        "    except OSError: pass",
        # A map that grew would show what follows.
        "for page in (0, 1, pages // 2, pages - 2, pages - 1):\n"
        "    grown = libc.mremap(start + page * PAGE, PAGE, 99 * PAGE, 1, 0)\n"
        "    if grown != FAILED: print(ctypes.string_at(grown, 99 * PAGE)[-10:])",
        # Nor can it be moved to where it could grow, on its own or with what lies before it.
        "low = libc.mmap(start - PAGE, PAGE, 3, 0x22, -1, 0)\n"
        "moved = [libc.mremap(start, pages * PAGE, pages * PAGE, 3, 0x7000 << 32),\n"
        "         libc.mremap(low, (pages + 1) * PAGE, (pages + 1) * PAGE, 3, 0x7000 << 32)]\n"
        "if set(moved) != {FAILED}: print(moved)",
        # What is dropped of a page of a file's comes back from the file.
        "for held in [start, start_of(context.encode())]:\n"
        "    libc.madvise(start, pages * PAGE, 4)\n"
        "    seen = set(ctypes.string_at(start, pages * PAGE))\n"
        "    if seen - {0, ord('b')}: print(seen)",
    ],
)
async def test_nothing_brings_the_rest_of_the_file_back(notebook: Notebook, code: str) -> None:
    assert await notebook.printed(f"{MAP}{code}") == ""


async def test_other_memory_grows_where_it_lies(notebook: Notebook) -> None:
    code = "room = libc.mmap(0, PAGE, 3, 0x22, -1, 0)\nprint(libc.mremap(room, PAGE, 9 * PAGE, 1, 0) != FAILED)"

    assert await notebook.printed(f"{MAP}{code}") == "True\n"
