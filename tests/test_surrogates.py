"""Halves of characters: what has no UTF-8 gets one, and nothing else is touched."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_graph.surrogates import each_text, has_surrogates, whole

steady = settings(deadline=None, derandomize=True, database=None)
any_text = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 🙂", "plain é 🙂"),
        ("\ud83d\ude42", "🙂"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude42\ud83d", "\ufffd\ufffd"),
        ("\ufeff\ud800", "\ufeff\ufffd"),
    ],
)
def test_halves_are_joined_and_those_that_are_alone_replaced(text: str, expected: str) -> None:
    assert whole(text) == expected


@steady
@given(any_text)
def test_a_whole_text_has_utf_8_and_stays_as_it_is(text: str) -> None:
    mended = whole(text)

    assert mended.encode().decode() == mended
    assert whole(mended) is mended
    assert (mended is text) == (not has_surrogates(text))


values = st.recursive(
    any_text | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(any_text, inner)
)


@steady
@given(values)
def test_a_value_with_its_texts_changed_has_utf_8_and_stays_as_it_is(value: object) -> None:
    mended = each_text(value)

    assert json.dumps(mended, ensure_ascii=False).encode()
    assert each_text(mended) is mended


def test_keys_and_values_are_changed_at_every_depth() -> None:
    assert each_text({"a\ud800": [{"b": "\udc00"}, 1]}) == {"a\ufffd": [{"b": "\ufffd"}, 1]}
    assert each_text(["a\0", {"\0": None}], lambda text: text.replace("\0", "-")) == ["a-", {"-": None}]
