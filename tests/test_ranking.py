"""The ranking by words: rare ones count more, and equal texts are equal."""

from __future__ import annotations

from rlm_graph.ranking import scores, words_of


def test_words_are_found_in_any_case_and_script() -> None:
    assert words_of("The STRASSE, straße; x_1 — Ёлка") == ["the", "strasse", "strasse", "x_1", "ёлка"]


def test_a_rare_word_counts_more_than_a_common_one_and_two_more_than_one() -> None:
    common, rare, both, none = scores([{"a"}, {"b"}, {"a", "b"}, set()], of=10)
    again = scores([{"a"}, {"a"}, {"b"}], of=10)

    assert both > common == rare > none == 0
    assert again[2] > again[0] == again[1] > 0


def test_a_word_counts_the_more_the_more_texts_lack_it() -> None:
    assert scores([{"a"}], of=100) > scores([{"a"}], of=10)
