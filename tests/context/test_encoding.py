"""Whatever bytes a file holds, its text arrives whole and the notes say how it was read."""

from __future__ import annotations

import codecs
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError

BLOCK = 1 << 20
CORPORA = Path(__file__).resolve().parents[2].parent / "shared" / "corpora"

needs_corpora = pytest.mark.skipif(not CORPORA.is_dir(), reason="no corpora beside the repository")


def taken(store: ContextStore, folder: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    path = folder / "input"
    path.write_bytes(content)
    ref = store.take(path)
    text = store.load(ref)
    assert isinstance(text, str)
    assert len(text) == ref.chars
    return text, ref.notes


@pytest.mark.parametrize(
    "text",
    ["a\r\nb\rc\n", "a\u2028b\u2029c\x85d", "naïve 日本語 🦜", "\x1b[0m tab\t", " ", "\ufeffkept"],
    ids=["line ends", "unicode line ends", "wide", "control", "space", "mark"],
)
def test_text_survives_as_it_came(store: ContextStore, text: str) -> None:
    ref = store.take(text)

    assert store.load(ref) == text
    assert (ref.kind, ref.chars, ref.bytes) == ("str", len(text), len(text.encode()))
    assert ref.notes == ()


def test_lone_surrogates_survive_in_a_text_and_in_a_file(store: ContextStore, tmp_path: Path) -> None:
    text = "a\ud800b\udfff\udc80 \ud83d\ude00"

    assert store.load(store.take(text)) == text
    assert taken(store, tmp_path, text.encode("utf-8", "surrogatepass")) == (text, ())


def test_a_utf8_file_is_stored_byte_for_byte(store: ContextStore, tmp_path: Path) -> None:
    content = "naïve\r\n日本語 🦜\u2028".encode() * 1000

    text, notes = taken(store, tmp_path, content)

    assert (text, notes) == (content.decode(), ())


@pytest.mark.parametrize("offset", range(-4, 1))
@pytest.mark.parametrize("char", ["é", "語", "🦜", "\ud800"])
def test_a_character_may_lie_across_two_blocks(store: ContextStore, tmp_path: Path, char: str, offset: int) -> None:
    content = b"a" * (BLOCK + offset) + (char * 3).encode("utf-8", "surrogatepass") + b"z" * BLOCK

    text, notes = taken(store, tmp_path, content)

    assert text == content.decode("utf-8", "surrogatepass")
    assert notes == ()


def test_a_utf8_mark_is_dropped_and_said(store: ContextStore, tmp_path: Path) -> None:
    text, notes = taken(store, tmp_path, codecs.BOM_UTF8 + "é".encode())

    assert text == "é"
    assert notes == ("its byte order mark was dropped",)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32-le", codecs.BOM_UTF32_LE),
        ("utf-32-be", codecs.BOM_UTF32_BE),
    ],
)
def test_marked_utf16_and_utf32_are_decoded(store: ContextStore, tmp_path: Path, encoding: str, mark: bytes) -> None:
    text = "x" * (BLOCK // 2 - 2) + "naïve 日本語 🦜🦜🦜 \ud800 \r\n" * 3

    read, notes = taken(store, tmp_path, mark + text.encode(encoding, "surrogatepass"))

    assert read == text
    assert notes == (f"decoded from {encoding.upper()}",)


def test_a_few_bytes_that_are_not_utf8_are_windows_1252_and_said(store: ContextStore, tmp_path: Path) -> None:
    content = "DESC:def What is a naïve café?\n".encode("latin-1")

    text, notes = taken(store, tmp_path, content)

    assert text == content.decode("latin-1")
    assert notes == ("decoded as Windows-1252 because it is not UTF-8",)


@pytest.mark.parametrize("bad", [b"\xff", b"\xe3\x83", b"\xc0\x80"])
def test_a_bad_byte_in_long_utf8_is_replaced_and_counted(store: ContextStore, tmp_path: Path, bad: bytes) -> None:
    good = "エラー: ポンプが停止しました\n" * 6000

    text, notes = taken(store, tmp_path, good.encode() + bad + good.encode())

    assert text.replace("\ufffd", "") == good * 2
    places = text.count("\ufffd")
    assert notes == (f"bytes that are not UTF-8 were replaced by U+FFFD, {places} in all",)


def test_what_is_replaced_in_several_files_is_added_up(store: ContextStore, tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).write_bytes("ポンプ".encode() + b"\xff")

    ref = store.take([tmp_path / name for name in "abcd"])

    assert ref.notes == ("a, b, c and 1 more: bytes that are not UTF-8 were replaced by U+FFFD, 4 in all",)


def test_a_replacement_character_that_was_there_is_not_counted(store: ContextStore, tmp_path: Path) -> None:
    _, notes = taken(store, tmp_path, "\ufffd\ufffdポンプ".encode() + b"\xff")

    assert notes == ("bytes that are not UTF-8 were replaced by U+FFFD, 1 in all",)


def test_lone_surrogates_pass_beside_bad_bytes(store: ContextStore, tmp_path: Path) -> None:
    text, _ = taken(store, tmp_path, "ポンプ\ud800".encode("utf-8", "surrogatepass") + b"\xff")

    assert text == "ポンプ\ud800\ufffd"


def test_a_bad_byte_after_many_good_blocks_leaves_no_trace_of_the_first_attempt(
    store: ContextStore, tmp_path: Path
) -> None:
    content = "é".encode() * (2 * BLOCK) + b"\xff"

    text, _ = taken(store, tmp_path, content)

    assert text == "é" * (2 * BLOCK) + "\ufffd"
    again = store.take(text)
    assert list(store.all()) == [again.sha256]


@pytest.mark.parametrize("tail", [b"\xe8\xaa", b"\xf0\x9f"])
def test_a_character_cut_off_at_the_end_is_utf8(store: ContextStore, tmp_path: Path, tail: bytes) -> None:
    text, _ = taken(store, tmp_path, b"abc" + tail)

    assert text == "abc\ufffd"


def test_two_bytes_in_a_long_text_are_no_evidence_for_anything_odd(store: ContextStore, tmp_path: Path) -> None:
    content = b"a" * (BLOCK - 1) + b"\xc3" + b"b" * BLOCK + b"\xa9"

    text, _ = taken(store, tmp_path, content)

    assert text == content.decode("latin-1")


def test_half_a_utf16_file_is_utf16_with_its_end_replaced(store: ContextStore, tmp_path: Path) -> None:
    text, notes = taken(store, tmp_path, codecs.BOM_UTF16_LE + b"a\0b")

    assert text == "a\ufffd"
    assert notes == ("decoded from UTF-16-LE", "bytes that are not UTF-16-LE were replaced by U+FFFD, 1 in all")


def test_a_long_file_is_judged_by_all_of_it(store: ContextStore, tmp_path: Path) -> None:
    """Its first and last megabytes are ASCII: the evidence lies between them."""
    plain = b"2024-01-02 12:00:00 INFO pump 17 is well\n" * 50_000
    text = "2024-01-02 12:00:00 ERROR ポンプが停止しました\n" * 200

    read, notes = taken(store, tmp_path, plain + text.encode("cp932") + plain)

    assert read == plain.decode() + text + plain.decode()
    assert notes == ("decoded as Shift-JIS because it is not UTF-8",)


@pytest.mark.parametrize("first", [None, "another text"], ids=["alone", "second"])
@pytest.mark.parametrize(
    "content",
    [
        b"a" * (3 * BLOCK),
        "naïve 日本語 🦜\ud800\n".encode("utf-8", "surrogatepass") * (BLOCK // 8),
        codecs.BOM_UTF8 + "日本語\n".encode() * (BLOCK // 4),
        codecs.BOM_UTF16_LE + "naïve 日本語\n".encode("utf-16-le") * (BLOCK // 8),
        "a line of plain text\n".encode("utf-16-le") * (BLOCK // 8),
        "これは長い文です。\n".encode("utf-16-be") * (BLOCK // 8),
        "Größe und naïve Café\n".encode("latin-1") * (BLOCK // 8),
        "日本語\n".encode() * (BLOCK // 4) + b"\xff",
        "日本語\n".encode() * (BLOCK // 4) + "語".encode()[:2],
        b"a" * (2 * BLOCK - 1) + "語".encode() + b"\xffz",
    ],
    ids=[
        "ascii", "utf-8", "marked utf-8", "marked utf-16", "utf-16-le", "utf-16-be", "latin-1", "bad end", "cut", "bad",
    ],
)  # fmt: skip
def test_a_stream_is_read_as_a_file_of_the_same_bytes_is(
    store: ContextStore, tmp_path: Path, content: bytes, first: str | None
) -> None:
    path = tmp_path / "stdin"
    path.write_bytes(content)
    before = [first] if first is not None else []

    from_file = store.combine([*before, path])
    with path.open("rb") as stream:
        from_stream = store.combine([*before, stream])

    whole, read = store.load(from_file), store.load(from_stream)
    assert (list(read.values())[-1] if isinstance(read, dict) else read) == (
        whole["stdin"] if isinstance(whole, dict) else whole
    )
    assert from_stream.notes == from_file.notes
    assert (from_stream.chars, from_stream.bytes) == (from_file.chars, from_file.bytes)


def test_a_stream_that_cannot_be_decoded_by_itself_is_said(store: ContextStore) -> None:
    """What was read of it before is not taken for all of it."""

    class Texts:
        def __init__(self) -> None:
            self.left = ["a" * BLOCK]

        def read(self, size: int) -> str:
            return self.left.pop() if self.left else b"\xff".decode()

    with pytest.raises(InputError, match=r"the stream cannot be read: .* can't decode byte 0xff"):
        store.take(Texts())


def test_bytes_that_are_no_text_are_refused(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(bytes(range(256)))

    with pytest.raises(InputError, match="input is binary, not text: turn it into text first"):
        store.take(tmp_path / "input")


@given(content=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_taken_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    marked = content in (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    if not marked:
        with contextlib.suppress(InputError):
            text, _ = taken(ContextStore(folder / "store"), folder, content)
            assert text


@needs_corpora
@pytest.mark.parametrize("name", ["sms_spam_hamza.tsv", "sms_spam_ivishalr.tsv", "trec_train_5500.label"])
def test_real_corpora_arrive_whole(store: ContextStore, name: str) -> None:
    content = (CORPORA / name).read_bytes()

    ref = store.take(CORPORA / name)

    text = store.load(ref)
    assert isinstance(text, str)
    assert ref.notes == ()
    assert text.encode() == content


@needs_corpora
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_real_corpora_are_read_in_other_encodings_too(store: ContextStore, tmp_path: Path, encoding: str) -> None:
    text = (CORPORA / "sms_spam_hamza.tsv").read_text().encode(encoding, "ignore").decode(encoding)

    read, notes = taken(store, tmp_path, text.encode(encoding))

    assert read == text
    assert len(notes) == 1
