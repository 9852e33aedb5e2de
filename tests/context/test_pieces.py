"""Contexts that are pieces of stored ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore, Verbatim
from rlm_graph.errors import InputError
from rlm_graph.handed import TextAt
from rlm_graph.settings import ContextSettings
from rlm_graph.state import ContextRef

TEXT = "plain é 漢字 😀\n" * 100
DATA = TEXT.encode()


def place(store: ContextStore, ref: ContextRef, text: str, at: int = 0) -> TextAt:
    start = DATA.index(text.encode(), at)
    return TextAt(store.folder(ref) / "text", start, len(text.encode()), len(text), of=ref.sha256)


@pytest.fixture
def store(tmp_path: Path) -> ContextStore:
    return ContextStore(tmp_path / "store")


@pytest.fixture
def ref(store: ContextStore) -> ContextRef:
    return store.take(TEXT)


def test_a_piece_of_a_context_shares_its_text(store: ContextStore, ref: ContextRef) -> None:
    piece = store.take(Verbatim(place(store, ref, "漢字 😀\nplain")))

    assert (piece.kind, piece.chars, piece.bytes, piece.parts) == ("str", 10, 17, 1)
    assert store.load(piece) == "漢字 😀\nplain"
    assert store.holds(piece)
    assert os.path.samefile(store.folder(piece) / "text", store.folder(ref) / "text")


def test_a_piece_outlives_what_it_is_a_piece_of(store: ContextStore, ref: ContextRef) -> None:
    piece = store.take(Verbatim(place(store, ref, "漢字")))

    store.forget(ref)

    assert store.load(piece) == "漢字"
    store.forget(piece)
    assert not store.holds(piece)
    with pytest.raises(InputError):
        store.restore(piece)


def test_the_same_piece_is_the_same_context_and_another_is_another(store: ContextStore, ref: ContextRef) -> None:
    first, again = (store.take(Verbatim(place(store, ref, "漢字"))) for _ in range(2))
    later = store.take(Verbatim(place(store, ref, "漢字", 100)))
    listed = store.take(Verbatim([place(store, ref, "漢字")]))

    assert first == again
    assert len({first.sha256, later.sha256, listed.sha256, ref.sha256}) == 4
    assert store.load(listed) == ["漢字"]


def test_pieces_that_touch_share_the_text_and_others_are_copied(store: ContextStore, ref: ContextRef) -> None:
    touching = {"a": place(store, ref, "plain é"), "b": place(store, ref, "é 漢字")}
    apart = {"a": place(store, ref, "plain"), "b": place(store, ref, "漢字")}
    mixed = {"a": place(store, ref, "plain"), "b": "a text of the code's own"}

    shared, copied, other = (store.take(Verbatim(value)) for value in (touching, apart, mixed))

    assert store.load(shared) == {"a": "plain é", "b": "é 漢字"}
    assert store.load(copied) == {"a": "plain", "b": "漢字"}
    assert store.load(other) == {"a": "plain", "b": "a text of the code's own"}
    assert (store.folder(shared) / "text").stat().st_nlink == 2
    assert [(store.folder(each) / "text").stat().st_size for each in (copied, other)] == [
        copied.bytes,
        other.bytes,
    ]


def test_the_piece_of_a_piece_is_a_piece(store: ContextStore, ref: ContextRef) -> None:
    outer = store.take(Verbatim(place(store, ref, "plain é 漢字")))
    begin = DATA.index("é".encode())
    inner = store.take(Verbatim(TextAt(store.folder(outer) / "text", begin, 2, 1, of=outer.sha256)))

    assert store.load(inner) == "é"
    assert os.path.samefile(store.folder(inner) / "text", store.folder(ref) / "text")


def test_what_lies_in_no_context_of_the_store_is_copied(store: ContextStore, tmp_path: Path) -> None:
    file = tmp_path / "sent"
    file.write_bytes(DATA)

    taken = store.take(Verbatim(TextAt(file, 0, len(DATA), len(TEXT))))

    assert taken == store.take(Verbatim(TEXT))


def test_a_piece_whose_index_a_power_cut_has_lost_is_made_again(store: ContextStore, ref: ContextRef) -> None:
    piece = store.take(Verbatim(place(store, ref, "漢字")))
    (store.folder(piece) / "index.json").write_bytes(b"")

    assert not store.holds(piece)
    assert store.take(Verbatim(place(store, ref, "漢字"))) == piece
    assert store.load(piece) == "漢字"


def test_the_text_that_pieces_share_counts_once(store: ContextStore, ref: ContextRef, tmp_path: Path) -> None:
    from rlm_graph.storage.data_folder import DataFolder
    from rlm_graph.storage.usage import usage_of

    folder = DataFolder(tmp_path)
    kept = ContextStore(folder.contexts(encrypted=False))
    whole = kept.take(TEXT)
    before = usage_of(folder, folder.database)
    kept.take(Verbatim(TextAt(kept.folder(whole) / "text", 0, 5, 5, of=whole.sha256)))

    after = usage_of(folder, folder.database)

    assert sum(part.bytes for part in after) - sum(part.bytes for part in before) < 1_000


@pytest.mark.parametrize("shared", [True, False])
def test_texts_that_overlap_take_no_more_memory_than_there_is(tmp_path: Path, shared: bool) -> None:
    store = ContextStore(tmp_path / "store", ContextSettings(max_memory_bytes=1_000_000))
    ref = store.take("a" * 100_000)
    first = TextAt(store.folder(ref) / "text", 0 if shared else 2, 90_000, 90_000, of=ref.sha256)

    with pytest.raises(InputError, match="too large"):
        store.take(Verbatim([first, TextAt(first.file, 0, 1, 1, of=ref.sha256)] + [first] * 20))

    assert list(store.all()) == [ref.sha256]
    assert store.take(Verbatim([first] * 5)).chars == 450_000
