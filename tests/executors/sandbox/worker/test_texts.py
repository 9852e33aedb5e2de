"""Contexts that stay in their file until code uses them as a whole."""

from __future__ import annotations

import json
import mmap
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.executors.sandbox.frames import MAX_VALUE_ITEMS, count_items
from rlm_graph.executors.sandbox.worker.calls import HostCalls, Transport
from rlm_graph.executors.sandbox.worker.cells import Cells
from rlm_graph.executors.sandbox.worker.context import Context
from rlm_graph.executors.sandbox.worker.handing import MAX_TEXTS, handed
from rlm_graph.executors.sandbox.worker.mapped import ascii_text, mapped
from rlm_graph.executors.sandbox.worker.namespace import Main, Namespace
from rlm_graph.executors.sandbox.worker.texts import StoredContext, StoredText, open_file, read

TEXT = "one é\ntwo 漢字\nthree 😀\n"


def stored(text: str = TEXT) -> StoredContext:
    data = text.encode("utf-8", "surrogatepass")
    part = {"name": None, "start": 0, "bytes": len(data), "chars": len(text), "ascii": text.isascii()}
    return read("str", [part], data)


class Notebook:
    """Cells of one namespace, without a process around it."""

    def __init__(self) -> None:
        transport: Transport = None  # type: ignore[assignment]  # no cell here calls the host
        self.main = Main("__main__")
        self.namespace = Main.namespace = Namespace(self.main.__dict__, HostCalls(transport))
        self._cells = Cells(self.namespace)
        self._number = 0

    def run(self, code: str) -> str | None:
        self._number += 1
        outcome = self._cells.run(self._number, code, "python")
        assert outcome["error"] is None, outcome["error"]
        value: str | None = outcome["value"]
        return value


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    yield Notebook()
    if "namespace" in vars(Main):
        del Main.namespace


@pytest.mark.parametrize(
    "code",
    [
        "ctx.find('two')[0].offset, ctx.slice(2, 5), len(ctx), lenP",
        "peek(3), tail(2), [len(c) for c in ctx.chunk(4)], ctx",
        "import re\n[m.offset for m in ctx.find(re.compile('t'))]",
        "def first(): return ctx.slice(0, 1)\nfirst(), SHOW_VARS()",
    ],
)
def test_code_that_looks_into_a_context_makes_no_whole_text_of_it(notebook: Notebook, code: str) -> None:
    notebook.namespace.give(1, stored())

    notebook.run(code)

    assert notebook.namespace.folded
    assert not notebook.namespace.stored[1].ready


@pytest.mark.parametrize(
    "code",
    [
        "context",
        "P",
        "contexts[0]",
        "def whole(): return context\nwhole()",
        "[each for each in [1] for _ in [context]] and context",
        "globals()['context']",
        "eval('context')",
        "(lambda: P)()",
    ],
)
def test_code_that_names_a_context_gets_it_whole(notebook: Notebook, code: str) -> None:
    notebook.namespace.give(1, stored())

    assert notebook.run(code) == repr(TEXT)


def test_a_function_of_an_earlier_cell_finds_each_later_context(notebook: Notebook) -> None:
    notebook.run("def whole(): return context")
    notebook.namespace.give(1, stored())
    notebook.namespace.give(2, stored("später"))

    assert notebook.run("whole()") == "'später'"
    assert notebook.run("contexts") == repr([TEXT, "später"])


def test_a_module_of_the_code_finds_a_context_in_the_main_module(notebook: Notebook) -> None:
    notebook.namespace.give(1, stored())

    assert notebook.main.context == TEXT
    assert not hasattr(notebook.main, "another name")


def test_an_answer_may_be_a_context_by_its_name(notebook: Notebook) -> None:
    notebook.namespace.give(1, stored())

    notebook.run("FINAL_VAR('context')")

    assert notebook.namespace.final is not None
    assert notebook.namespace.final["value"] == TEXT


def test_a_context_is_one_object_whoever_names_it(notebook: Notebook) -> None:
    notebook.namespace.give(1, stored())

    assert notebook.run("context is P, contexts[0] is context, ctx.slice() == context") == "(True, True, True)"
    assert notebook.namespace.contexts_are_whole()


def test_long_texts_are_found_by_their_characters() -> None:
    drawn = random.Random(0)
    text = "".join(drawn.choice("ab\n é漢😀\ud800") for _ in range(60_000))
    context = Context(stored(text))

    for _ in range(200):
        start = drawn.randrange(len(text))
        stop = drawn.randrange(start, len(text))
        assert context.slice(start, stop) == text[start:stop]
        assert context.slice(start - len(text), stop) == text[start:stop]
    assert [match.offset for match in context.find("\ud800a", limit=None)] == [
        at for at in range(len(text)) if text.startswith("\ud800a", at)
    ]


@pytest.mark.parametrize(("start", "size"), [(0, 3 * mmap.PAGESIZE), (5, 100), (4090, 5000), (4096, 4096), (0, 1)])
def test_a_piece_of_a_file_is_mapped_with_nothing_around_it(tmp_path: Path, start: int, size: int) -> None:
    content = bytes(random.Random(1).choices(b"abcdefgh", k=3 * mmap.PAGESIZE))
    file = tmp_path / "text"
    file.write_bytes(content)

    with file.open("rb") as opened:
        data = mapped(opened.fileno(), start, size)
        text = ascii_text(opened.fileno(), start, size)

    before = start % mmap.PAGESIZE
    assert data[:] == bytes(before) + content[start : start + size]
    assert text is None or (text == content[start : start + size].decode() and type(text) is str)
    assert file.read_bytes() == content


def test_a_large_ascii_text_is_the_files_own_pages(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"0123456789abcdef" * (1 << 17))
    part = {"name": None, "start": 0, "bytes": 1 << 21, "chars": 1 << 21, "ascii": True}

    with file.open("rb") as opened:
        context = open_file("str", [part], opened.fileno(), 0, 1 << 21)

    assert context.ready == (ascii_text_is_known())
    assert context.value() == "0123456789abcdef" * (1 << 17)
    value = context.value()
    assert value == str(value)
    assert hash(value) == hash("0123456789abcdef" * (1 << 17))


def ascii_text_is_known() -> bool:
    from rlm_graph.executors.sandbox.worker import mapped as module

    return module._head() is not None


def test_a_long_slice_of_a_shared_text_is_a_text_like_any_other(tmp_path: Path) -> None:
    import copy
    import gc
    import pickle

    whole = "".join(f"{number:015}\n" for number in range(1_300_000))
    file = tmp_path / "text"
    file.write_text(whole)
    part = {"name": None, "start": 0, "bytes": len(whole), "chars": len(whole), "ascii": True}
    with file.open("rb") as opened:
        context = Context(open_file("str", [part], opened.fileno(), 0, len(whole)))

    for start in range(0, 3_000_000, 300_007):
        piece = context.slice(start, start + (17 << 20))
        expected = whole[start : start + (17 << 20)]
        grown = piece
        grown += "x"
        copies = [copy.copy(piece), copy.deepcopy(piece), pickle.loads(pickle.dumps(piece)), str(piece)]
        assert piece == expected
        assert hash(piece) == hash(expected)
        assert (len(piece), piece[-5:], piece.find("999\n"), piece.upper()[:9]) == (
            len(expected), expected[-5:], expected.find("999\n"), expected[:9],
        )  # fmt: skip
        assert piece.encode() == expected.encode()
        assert all(each == expected for each in copies)
        assert grown == expected + "x"
        del piece, grown, copies
    gc.collect()

    assert context.slice() == whole


def test_a_call_names_no_more_texts_than_its_frame_can_tell_of() -> None:
    documents = [f"{number} " * 200 for number in range(100_000, 150_000)]

    taken = handed({"question": "q", "context": documents}, {})

    assert len(taken.texts) == MAX_TEXTS
    assert [text for text in taken.arguments["context"] if text is not None] == documents[MAX_TEXTS:]
    told = json.dumps([taken.arguments, taken.texts]).encode()
    assert count_items(told, 10 * MAX_VALUE_ITEMS) <= MAX_VALUE_ITEMS


def test_more_whole_contexts_than_a_call_can_name_are_an_error_in_the_code() -> None:
    context = stored("a text " * 20_000)
    context.number(1)

    with pytest.raises(ValueError, match="ask in parts"):
        handed({"questions": ["q"], "contexts": [Context(context)] * (MAX_TEXTS + 1)}, {1: context})


MIXED = "2026 naïve 日本語 🦜\nplain\n" * 40


def in_pieces(text: str = MIXED) -> StoredContext:
    """Return a text that is too long to be whole, as far as its pieces are concerned: nothing is counted yet."""
    data = text.encode("utf-8", "surrogatepass")
    part = {"name": None, "start": 0, "bytes": len(data), "chars": len(text), "ascii": False}
    return read("str", [part], data, whole_text_bytes=400)


@pytest.mark.parametrize("by", ["chars", "lines"])
def test_chunks_that_are_cut_when_they_are_looked_at_are_those_of_the_texts_themselves(by: str) -> None:
    chance = random.Random(by)
    whole = in_pieces().value()
    assert isinstance(whole, list)
    for _ in range(60):
        size = chance.choice([1, 2, 7, 40, 99, 100, 101, 400])
        overlap = chance.randrange(min(size, 5))
        wanted = [(each.part, each.offset, str(each)) for each in Context(whole).chunk(size, overlap, by=by)]
        pieces = Context(in_pieces()).chunk(size, overlap, by=by)
        for _ in range(4):
            ends = [chance.choice([None, 0, 1, 3, 10, 10_000, -1, -3]) for _ in range(2)]
            cut = slice(*ends, chance.choice([None, 1, 2, -1]))
            assert [(each.part, each.offset, str(each)) for each in pieces[cut]] == wanted[cut]
        place = chance.randrange(-len(wanted), len(wanted))
        assert str(Context(in_pieces()).chunk(size, overlap, by=by)[place]) == wanted[place][2]
        assert [(each.part, each.offset, str(each)) for each in pieces] == wanted
        assert len(Context(in_pieces()).chunk(size, overlap, by=by)) == len(wanted)
        with pytest.raises(IndexError):
            pieces[len(wanted)]


def test_the_first_chunks_of_a_text_in_pieces_have_nothing_behind_them_counted() -> None:
    stored = in_pieces()

    pieces = Context(stored).chunk(len(Context(stored)) // 4)[1:2]

    assert len(pieces) == 1
    assert [text.counted for text in stored.texts[:3]] == [True, True, False]
    assert not any(text.counted for text in stored.texts[2:])


def test_chunks_in_a_snapshot_are_all_of_them_in_the_form_that_they_always_had() -> None:
    whole = in_pieces().value()
    pieces = Context(whole).chunk(50)

    back = pickle.loads(pickle.dumps(Context(in_pieces()).chunk(50)))

    assert list(back) == list(pieces)
    assert set(pieces.__getstate__()) == {"_spans"}


class CountedMeanwhile(bytes):
    """The bytes of a text that a thread counts while somebody else is about to."""

    text: StoredText | None = None

    def __getitem__(self, key: Any) -> Any:
        text, self.text = self.text, None
        if text is not None and isinstance(key, slice):
            text.slice(20_000, 20_001)
        return super().__getitem__(key)


def test_threads_may_count_the_same_text_at_once() -> None:
    text = MIXED * 40
    data = CountedMeanwhile(text.encode())
    shared = StoredText(data, 0, len(data), ascii=False)
    data.text = shared

    assert shared.slice(100, 109) == text[100:109]
    assert shared.slice(40_000, 40_009) == text[40_000:40_009]
    assert len(shared) == len(text)
