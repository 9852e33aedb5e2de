"""What reaches a terminal, a pipe and a file."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_graph.budget import Usage
from rlm_graph.cli.printing import cost, encoded, printable, spent

EMOJI = "👩\u200d👧\u200d👦 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 🏳\ufe0f\u200d🌈 👍🏽 🧑🏽\u200d💻"
SCRIPTS = "می\u200cخواهم क\u200dष שָׁלוֹם Việt e\u0301 ครั้ง བརྒྱུད"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nin lines", "plain\ttext\nin lines"),
        ("Grüße, 世界 🎉", "Grüße, 世界 🎉"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("over\rwritten", "over\\x0dwritten"),
        ("a\r\nb", "a\nb"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("half \ud83d of a pair", "half \\ud83d of a pair"),
        ("half\u2028a line", "half\\u2028a line"),
        ("no\u200bthing \ufeff \u2060 \u00ad", "no\\u200bthing \\ufeff \\u2060 \\xad"),
        ("hidden\U000e0041\U000e007f", "hidden\\U000e0041\\U000e007f"),
        ("a\ufe0fb\U000e0100c", "a\\ufe0fb\\U000e0100c"),
        ("rub\x7fout", "rub\\u007fout"),
        ("\u3164\u115f blank letters", "\\u3164\\u115f blank letters"),
        (
            "👩\u200d👧\u200d👦 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 🏳\ufe0f\u200d🌈 👍🏽",
            "👩\u200d👧\u200d👦 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 🏳\ufe0f\u200d🌈 👍🏽",
        ),
        ("می\u200cخواهم क\u200dष שָׁלוֹם Việt e\u0301", "می\u200cخواهم क\u200dष שָׁלוֹם Việt e\u0301"),
        ("a\u200db \u200d👧 👩\u200d", "a\\u200db \\u200d👧 👩\\u200d"),
        ("葛\U000e0100 葛\U000e0100\U000e0101", "葛\U000e0100 葛\U000e0100\\U000e0101"),
        ("\u0301on nothing", "\\u0301on nothing"),
        ("Z" + "\u0301" * 10, "Z" + "\u0301" * 8 + "\\u0301" * 2),
        ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.one_of(st.characters(), st.sampled_from("\u200d\ufe0f👩❤a\u0301\n葛\U000e0100"))))
def test_no_text_holds_anything_that_a_terminal_would_obey_afterwards(text: str) -> None:
    shown = printable(text)

    shown.encode()
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert printable(shown) == shown


AT_NUMBERS = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
"""Formats of Unicode's that are seen."""


def test_every_character_of_unicode_that_is_obeyed_or_not_seen_is_written_out_where_it_stands_alone() -> None:
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    passed = {
        code
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in kinds and printable(chr(code)) == chr(code)
    }

    assert passed == AT_NUMBERS | {0x09, 0x0A}


@given(st.binary())
def test_bytes_that_were_no_text_come_out_as_they_went_in(data: bytes) -> None:
    assert encoded(data.decode("utf-8", "surrogateescape")) == data


@given(st.text(st.characters(codec=None)))
def test_every_text_can_be_written(text: str) -> None:
    assert encoded(text).decode("utf-8", "replace") or not text


def test_a_cost_that_nobody_knows_is_never_shown_as_zero() -> None:
    assert cost(Usage(cost_usd=0.25)) == "$0.2500"
    assert cost(Usage(unpriced_calls=2)) == "cost unknown"
    assert cost(Usage(cost_usd=0.25, unpriced_calls=1)) == "$0.2500 and 1 call of unknown price"


def test_what_was_spent_fits_one_line() -> None:
    usage = Usage(turns=1, subcalls=12, input_tokens=1000, output_tokens=234, cost_usd=0.01, wall_s=3.25)

    assert spent(usage) == "1 turn · 12 sub-calls · 1,234 tokens · $0.0100 · 3.2 s"
