"""The parts of a context that need no process."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_graph.executors.sandbox.worker.context import Context, load, memory_needed
from rlm_graph.executors.sandbox.worker.texts import read

# By count and not by the clock: a busy machine must not fail a test.
steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])

TEXTS = st.text(st.sampled_from("ab\n\r é漢😀\ud800"), max_size=40)


def parts_of(texts: list[str]) -> tuple[list[dict[str, object]], bytes]:
    parts, data = [], b""
    for number, text in enumerate(texts):
        encoded = text.encode("utf-8", "surrogatepass")
        parts.append(
            {
                "name": str(number),
                "start": len(data),
                "bytes": len(encoded),
                "chars": len(text),
                "ascii": text.isascii(),
            }
        )
        data += encoded
    return parts, data


@steady
@given(st.lists(TEXTS, max_size=4))
def test_what_was_stored_is_loaded(texts: list[str]) -> None:
    parts, data = parts_of(texts)

    assert load("list", parts, data) == texts
    assert load("dict", parts, data) == {str(number): text for number, text in enumerate(texts)}


@steady
@given(TEXTS, st.integers(16, 40))
def test_a_text_too_long_for_one_str_comes_in_pieces_cut_between_characters(text: str, limit: int) -> None:
    parts, data = parts_of([text])

    loaded = load("str", parts, data, whole_text_bytes=limit)

    if text.isascii() or len(data) <= limit:
        assert loaded == text
    else:
        assert isinstance(loaded, list)
        assert "".join(loaded) == text
        assert len(loaded) >= 4


@steady
@given(st.lists(TEXTS, max_size=4), st.integers(-50, 200), st.integers(-50, 200))
def test_a_slice_is_that_of_the_texts_together(texts: list[str], start: int, stop: int) -> None:
    assert Context(texts).slice(start, stop) == "".join(texts)[start:stop]


@steady
@given(st.lists(TEXTS, max_size=3), st.integers(1, 12), st.integers(0, 11), st.sampled_from(["chars", "lines"]))
def test_chunks_cover_every_text_and_overlap_as_asked(texts: list[str], size: int, overlap: int, by: str) -> None:
    overlap = min(overlap, size - 1)
    chunks = Context(texts).chunk(size, overlap, by=by)

    for index, text in enumerate(texts):
        own = [chunk for chunk in chunks if chunk.part == index]
        covered = 0
        for chunk in own:
            assert text[chunk.offset : chunk.offset + len(chunk)] == chunk
            assert chunk.offset <= covered
            covered = chunk.offset + len(chunk)
        assert covered == len(text)
        if by == "chars":
            assert all(len(chunk) == size for chunk in own[:-1])
            assert all(b.offset == a.offset + size - overlap for a, b in itertools.pairwise(own))
        else:
            assert all(chunk.count("\n") == size for chunk in own[:-1])


@pytest.mark.parametrize(
    ("size", "overlap", "by"), [(0, 0, "chars"), (2, 2, "chars"), (2, -1, "chars"), (2, 0, "words")]
)
def test_chunks_that_make_no_sense_are_refused(size: int, overlap: int, by: str) -> None:
    with pytest.raises(ValueError, match="chunk"):
        Context("text").chunk(size, overlap, by=by)


def test_a_pattern_may_be_compiled_and_must_not_be_empty() -> None:
    import re

    assert [match.offset for match in Context("abcabc").find(re.compile("b(c)"))] == [1, 4]
    with pytest.raises(ValueError, match="empty"):
        Context("x").find("")


def test_memory_is_counted_for_the_file_and_the_widest_characters() -> None:
    parts, _ = parts_of(["abc", "é😀"])

    assert memory_needed(parts) == (3 + 3) + (6 + 8)


def test_a_context_shows_its_size_and_not_its_text() -> None:
    assert repr(Context({"a": "secret", "b": "x"})) == "<ctx: dict of 2 texts, 7 characters>"
    assert repr(Context("secret")) == "<ctx: str, 6 characters>"
    assert repr(Context(None)) == "<ctx: nothing, 0 characters>"
    assert repr(Context("abcd").chunk(2)) == "<2 pieces of the context>"


@steady
@given(st.text(st.sampled_from("ab\n\r é漢😀\ud800"), max_size=400), st.integers(16, 40), st.data())
def test_what_lies_in_a_file_is_looked_into_as_if_it_were_there(text: str, limit: int, data: st.DataObject) -> None:
    parts, encoded = parts_of([text])
    stored = read("str", parts, encoded, whole_text_bytes=limit)
    lazy, there = Context(stored), Context(load("str", parts, encoded, whole_text_bytes=limit))
    start, stop = data.draw(st.integers(-450, 450)), data.draw(st.integers(-450, 450))
    word = data.draw(st.sampled_from(["a", "é", "漢😀", "\n", "\ud800", "zebra"]))
    by = data.draw(st.sampled_from(["chars", "lines"]))

    assert len(lazy) == len(there) == len(text)
    assert lazy.slice(start, stop) == there.slice(start, stop) == text[start:stop]
    assert lazy.find(word, limit=None, around=3) == there.find(word, limit=None, around=3)
    assert lazy.find("[é漢]", regex=True) == there.find("[é漢]", regex=True)
    assert [(c, c.part, c.offset) for c in lazy.chunk(7, 2, by=by)] == [
        (c, c.part, c.offset) for c in there.chunk(7, 2, by=by)
    ]
    assert not any(each.ready for each in stored.texts)
