"""Values as bounded text."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_graph.executors.sandbox.worker.preview import kind, preview, shorten, show, size

# By count and not by the clock: a busy machine must not fail a test.
steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


class Hostile:
    """Everything it can be asked runs code that must not run."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)

    def __repr__(self) -> str:
        raise AssertionError("repr")


class Lying(list[int]):
    def __len__(self) -> int:
        raise AssertionError("len")


@steady
@given(PLAIN)
def test_what_fits_is_shown_as_python_shows_it(value: object) -> None:
    assert show(value, 100_000) == repr(value)


@steady
@given(PLAIN, st.integers(20, 100))
def test_a_preview_is_one_line_of_bounded_length(value: object, limit: int) -> None:
    text = preview(value, limit)

    assert len(text) <= limit
    assert "\n" not in text


def test_long_values_are_not_written_out_first() -> None:
    big: list[Any] = ["x" * 1000] * 3_000_000
    begun = time.process_time()

    text = show([big, big], 1000)

    assert time.process_time() - begun < 1
    assert len(text) < 3000
    assert "more ...]" in text


def test_a_value_in_itself_is_shown_once() -> None:
    loop: list[Any] = [1]
    loop.append(loop)

    assert show(loop, 100) == "[1, [...]]"


def test_nothing_of_a_foreign_type_runs_for_a_preview() -> None:
    assert preview(Hostile()).startswith("<")
    assert size(Hostile()) is None
    assert kind(Hostile()).endswith("Hostile")
    assert size(Lying([1, 2])) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(len, "function len"), (int, "class int"), (Hostile, "class Hostile"), (2**100_000, "<int of 100,001 bits>"),
     (object(), "<object>"), ("line\nbreak", "'line\\nbreak'"), (Ellipsis, "Ellipsis")],
    ids=range(7),
)  # fmt: skip
def test_what_has_no_short_form_is_named(value: object, text: str) -> None:
    assert preview(value) == text


def test_shortening_keeps_both_ends_and_says_how_much_is_gone() -> None:
    assert shorten("short", 5) == "short"
    assert shorten("a" * 50 + "b" * 50, 10) == "aaaaa\n[... 90 characters cut ...]\nbbbbb"
