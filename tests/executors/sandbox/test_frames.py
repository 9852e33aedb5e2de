"""Frames: lines of JSON, cut out of any stream."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_graph.executors.sandbox.frames import MAX_FRAME, FrameError, Splitter, count_items, decode, encode, is_deep

# By count and not by the clock: a busy machine must not fail a test.
steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@steady
@given(st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=5), st.integers(1, 40))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames: list[dict[str, object]], size: int) -> None:
    stream = b"".join(map(encode, frames))
    splitter = Splitter()

    out = [frame for at in range(0, len(stream), size) for frame in splitter.feed(stream[at : at + size])]

    assert out == frames
    assert stream.isascii()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"[]",
        b"5",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 18446744073709551616}',
        b'{"a": -9223372036854775809}',
        b'{"a": 1e999}',
        '{"a": "é"}'.encode(),
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"1" * 9999 + b"}",
        b"[" * 200_000,
        b"\xff",
        b'{"a": 1',
    ],
    ids=range(15),
)
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(FrameError):
        decode(line)


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    splitter = Splitter()
    piece = b"x" * (16 << 20)

    for _ in range(MAX_FRAME // len(piece)):
        assert list(splitter.feed(piece)) == []
    with pytest.raises(FrameError):
        list(splitter.feed(piece))


def test_frames_before_one_that_is_none_are_not_lost() -> None:
    frames = Splitter().feed(encode({"a": 1}) + encode({"b": 2}) + b"nonsense\n" + encode({"c": 3}))

    assert [next(frames), next(frames)] == [{"a": 1}, {"b": 2}]
    with pytest.raises(FrameError):
        next(frames)


def test_a_frame_that_is_too_long_is_refused_where_it_is_made() -> None:
    with pytest.raises(FrameError):
        encode({"text": "x" * MAX_FRAME})


def test_depth_is_counted_through_lists_and_objects() -> None:
    nested: object = "leaf"
    for _ in range(5):
        nested = {"in": [nested]}

    assert not is_deep(nested, 10)
    assert is_deep(nested, 9)


@pytest.mark.parametrize(
    ("line", "items"),
    [
        (b'{"a":[{},{},{}]}', 7), (rb'{"a":",[{\",[","b":"\\"}', 2), (b'{"a":1,"b":[[[]]]}', 5), (b"[" * 90, 90),
    ],
    ids=range(4),
)  # fmt: skip
def test_values_are_counted_and_what_stands_in_texts_is_not(line: bytes, items: int) -> None:
    assert count_items(line, 0) >= min(items, 1)
    assert count_items(line + b" " * 10, items - 1) == items


def test_a_text_however_long_is_one_value() -> None:
    line = encode({"a": ',[{"\\' * 1_000_000})

    assert count_items(line, 100) == 1
    assert decode(line, max_items=100)["a"].startswith(",[{")


def test_a_frame_of_too_many_values_is_refused_before_they_are_made() -> None:
    line = b'{"a":[' + b"{}," * 5_000_000 + b"{}]}\n"

    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="values"):
            list(Splitter(max_items=1_000).feed(line))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5 * len(line)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}], ids=range(4))
def test_what_json_has_no_form_for_makes_no_frame(value: object) -> None:
    with pytest.raises(FrameError):
        encode({"a": value})
