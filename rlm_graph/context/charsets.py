"""Which encoding a text is in that is no UTF-8 and has no mark: judged by its bytes.

East Asian encodings are told by the characters that are common in their language, Western ones by what
charset-normalizer makes of the words. Where the evidence is even, the encoding that is met most often is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

ASCII = bytes(range(0x80))
NAMES = {
    "cp1252": "Windows-1252",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp1255": "Windows-1255",
    "cp1256": "Windows-1256",
    "cp932": "Shift-JIS",
    "cp949": "EUC-KR",
    "cp850": "CP850",
    "cp437": "CP437",
    "mac_roman": "Mac Roman",
    "cp866": "CP866",
    "cp874": "Windows-874",
    "iso8859_2": "ISO-8859-2",
    "iso8859_5": "ISO-8859-5",
    "iso8859_15": "ISO-8859-15",
}
"""How notes call the encodings that are better known by another name than Python's."""

FALLBACK = "latin-1"
"""Every byte has a character in it, so nothing is lost: `text.encode("latin-1")` gives the bytes back."""
FEW = 6
"""Bytes beyond ASCII that are no evidence against what is met most often."""
_WESTERN = ("cp1252", "iso8859_2", "cp1254")
_WESTERN_WITH_LETTERS_IN_C1 = ("cp1252", "cp1250", "cp1254")
_DOS_AND_MAC = ("cp850", "mac_roman", "cp437")
_OTHER_SCRIPTS = ("cp1251", "koi8_r", "cp1253", "cp1256", "cp866", "iso8859_5", "cp1255", "cp874")


class _EastAsian(NamedTuple):
    """An encoding of two bytes a character, by the lead bytes of its characters."""

    name: str
    common: frozenset[int]
    """Lead bytes of letters and of the characters that make up nearly all of a text."""
    neutral: frozenset[int]
    """Lead bytes of punctuation, signs and wide digits, which say nothing."""
    kana: frozenset[int] = frozenset()
    """Lead bytes of which one must occur, where the rest looks like another language's encoding."""
    trail: int = 0x40
    """The least trail byte of a common character."""


_EAST_ASIAN = (
    # Hangul fill only the first of the rows that are Chinese characters in GB 2312: told before it.
    _EastAsian("cp949", frozenset(range(0xB0, 0xC9)), frozenset({0xA1, 0xA2, 0xA3}), trail=0xA1),
    _EastAsian(
        "euc_jp",
        frozenset({0xA4, 0xA5, *range(0xB0, 0xD0)}),
        frozenset({0xA1, 0xA2, 0xA3, 0x8E}),
        frozenset({0xA4, 0xA5}),
        0xA1,
    ),
    _EastAsian("gb18030", frozenset(range(0xB0, 0xD8)), frozenset({0xA1, 0xA2, 0xA3}), trail=0xA1),
    _EastAsian("big5", frozenset(range(0xA4, 0xC7)), frozenset({0xA1, 0xA2, 0xA3})),
    _EastAsian("cp932", frozenset({0x82, 0x83, *range(0x88, 0x99)}), frozenset({0x81})),
)


def label(encoding: str) -> str:
    """Return the name of an encoding as a note gives it."""
    return NAMES.get(encoding, encoding.upper().replace("_", "-") if encoding != FALLBACK else encoding)


def wide(sample: bytes) -> str | None:
    """Return the encoding of 2 or 4 bytes a character that `sample` is in without a mark, if it is in one.

    `sample` begins at a multiple of four bytes. Text of one script has its high bytes in few values: zero for what is
    Latin.
    """
    if b"\0" not in sample and _is_utf8(sample):
        return None
    sample = sample[: len(sample) // 4 * 4] or sample
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        unit = 4 if "32" in encoding else 2
        if len(sample) % unit:
            continue
        try:
            text = sample.decode(encoding, "replace" if unit == 2 else "strict")
        except UnicodeDecodeError:
            continue
        if text and _reads_as_text(text):
            return encoding
    return None


def _is_utf8(sample: bytes) -> bool:
    try:
        sample.decode()
    except UnicodeDecodeError:
        return False
    return True


_ASCII_TEXT = re.compile(r"[\t\n\r\f\x20-\x7e]")
_KANA = re.compile("[\u3040-\u30ff]")
_SCRIPTS = re.compile(
    "[\u00a0-\u052f\u0590-\u06ff\u0900-\u0dff\u0e00-\u0eff\u1e00-\u1fff\u2010-\u2044\u20a0-\u20bf\u2190-\u21ff"
    "\u2500-\u25ff\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef]"
)


def _reads_as_text(text: str) -> bool:
    """Tell whether the characters of a text are those of texts, with spaces and line ends, or kana, among them.

    Two bytes of an 8-bit text, taken for one character, mostly give a Chinese or Korean one, and never ASCII.
    """
    plain, kana = len(_ASCII_TEXT.findall(text)), len(_KANA.findall(text))
    if plain * 50 < len(text) and kana * 5 < len(text):
        return False
    return plain + len(_SCRIPTS.findall(text)) >= 0.97 * len(text)


def judge(sample: bytes) -> str:
    """Return the encoding of a text that is no UTF-8, by `sample`: pieces of it with bytes beyond ASCII in them."""
    for candidate in _EAST_ASIAN:
        if _is_in(sample, candidate):
            return candidate.name
    beyond = sample.translate(None, ASCII)
    in_words = sum(map(len, re.findall(rb"[\x80-\xff]{2,}", sample)))
    if in_words * 10 > len(beyond) * 6 and (found := _best(sample, _scripts(beyond))) is not None:
        return found
    return _best(sample, _western(sample, beyond)) or "cp1252"


def _scripts(beyond: bytes) -> Sequence[str]:
    """Return the encodings of other scripts than Latin, the likelier first.

    Hebrew has no capitals and ends at 0xFA, where Cyrillic has its most frequent vowels.
    """
    is_hebrew = len(beyond) >= 40 and not re.search(rb"[\xc0-\xdf\xfb-\xff]", beyond)
    return ("cp1255", *_OTHER_SCRIPTS) if is_hebrew else _OTHER_SCRIPTS


def _western(sample: bytes, beyond: bytes) -> Sequence[str]:
    """Return the Latin encodings that a text may be in, the likelier first.

    DOS and the old Macintosh have letters where Windows has quotation marks and dashes, which stand around words.
    """
    in_c1 = re.search(rb"[\x80-\x9f]", beyond)
    if len(beyond) < FEW:
        return ("cp1252",)
    if in_c1 is None and 0xA4 in beyond:  # the euro, for nobody writes the currency sign
        return ("iso8859_15",)
    inside_words = re.search(rb"[A-Za-z][\x80-\x91\x93-\x9f][a-z]", sample)  # 0x92 is an apostrophe
    return (*(_WESTERN_WITH_LETTERS_IN_C1 if in_c1 else _WESTERN), *(_DOS_AND_MAC if inside_words else ()))


def _is_in(sample: bytes, candidate: _EastAsian) -> bool:
    pairs = list(_pairs(sample, candidate.name))
    told = [(lead, trail, joined) for lead, trail, joined in pairs if lead not in candidate.neutral]
    if not told:
        return False
    common = sum(lead in candidate.common and trail >= candidate.trail for lead, trail, _ in told)
    joined = sum(joined for *_, joined in told)
    kana = sum(lead in candidate.kana for lead, *_ in told)
    # A quotation mark of Windows-1252 and the letter behind it may be a character too, but one that stands alone.
    return common >= 0.85 * len(told) and joined * 2 > len(told) and (not candidate.kana or kana * 20 >= len(told))


def _pairs(sample: bytes, encoding: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the lead and trail byte of each character of two bytes, and whether it stands beside another one.

    Characters of more bytes have zeros for them; those of one, such as half-width kana, say nothing. Nothing if the
    sample is not in `encoding`, but for a few bytes: it may begin or end within a character.
    """
    text = sample.decode(encoding, "replace")
    if text.count("\ufffd") > 1 + sum(char >= "\x80" for char in text) // 50:
        return
    text = f" {text} "
    for index, char in enumerate(text):
        if char < "\x80" or char == "\ufffd":
            continue
        data = char.encode(encoding, "ignore")
        if len(data) == 2:
            yield data[0], data[1], any(near >= "\x80" for near in text[index - 1 : index + 2 : 2])
        elif len(data) > 2:
            yield 0, 0, False


def _best(sample: bytes, encodings: Sequence[str]) -> str | None:
    """Return the first of `encodings` that charset-normalizer finds no worse than any of them, if it finds one."""
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=list(dict.fromkeys(encodings)), steps=16, chunk_size=1024)
    if not matches:
        return None
    least = min(match.chaos for match in matches)
    tidy = [match for match in matches if match.chaos <= least + 0.03]
    most = max(match.coherence for match in tidy)
    fitting = {name for match in tidy if match.coherence >= most - 0.03 for name in match.could_be_from_charset}
    return next((encoding for encoding in encodings if encoding in fitting), None)
