"""Values of Python and JSON as contexts, each in its stated form."""

from __future__ import annotations

import datetime
import json
from collections import deque
from typing import Any

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError


def test_bytes_are_read_as_a_file_is(store: ContextStore) -> None:
    ref = store.take("Größe".encode("utf-16"))

    assert (store.load(ref), ref.notes) == ("Größe", ("decoded from UTF-16-LE",))
    assert store.load(store.take({"a": b"A", "b": bytearray(b"B")})) == {"a": "A", "b": "B"}


def test_records_are_a_list_of_texts_each_one_in_json(store: ContextStore) -> None:
    records = [{"id": 1, "text": "é\n"}, {"id": 2, "tags": ["x", None, True], "of": {"n": 1.5}}]

    ref = store.take(records)

    texts = store.load(ref)
    assert ref.kind == "list"
    assert texts[0] == '{"id": 1, "text": "é\\n"}'
    assert [json.loads(text) for text in texts] == records
    assert ref.notes == ("each item is given as JSON; json.loads reads it",)


@pytest.mark.parametrize("rows", [[[1, "a"], [2, "b"]], [1, 2.5, None], ({"a": 1},), deque([{"a": 1}]), range(3)])
def test_rows_and_numbers_are_too(store: ContextStore, rows: Any) -> None:
    assert [json.loads(text) for text in store.load(store.take(rows))] == list(rows)


def test_a_json_object_is_a_dict_of_texts_in_which_texts_stay_as_they_are(store: ContextStore) -> None:
    ref = store.take({"title": "T", "users": [{"name": "a"}], "total": 1, "none": None})

    assert store.load(ref) == {"title": "T", "users": '[{"name": "a"}]', "total": "1", "none": "null"}
    assert ref.notes == ("users, total, none: given as JSON; json.loads reads it",)


def test_an_iterator_of_texts_is_a_list(store: ContextStore) -> None:
    assert store.load(store.take(text for text in ("a", "b"))) == ["a", "b"]
    assert store.load(store.take({"x": "a", "y": "b"}.values())) == ["a", "b"]


class PandasLike:
    """The part of pandas.DataFrame that counts here. Iterating over one gives the names of its columns."""

    columns = ("day", "n")

    def __iter__(self) -> Any:
        return iter(self.columns)

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return [{"day": datetime.date(2024, 1, 2), "n": 1}]


class PolarsLike:
    columns = ("day", "n")

    def to_dict(self) -> dict[str, Any]:
        raise AssertionError("that one is of columns")

    def to_dicts(self) -> list[dict[str, Any]]:
        return [{"day": datetime.date(2024, 1, 2), "n": 1}]


class ArrowLike:
    columns = ((datetime.date(2024, 1, 2),), (1,))

    def to_pylist(self) -> list[dict[str, Any]]:
        return [{"day": datetime.date(2024, 1, 2), "n": 1}]


@pytest.mark.parametrize("table", [PandasLike(), PolarsLike(), ArrowLike()], ids=["pandas", "polars", "pyarrow"])
def test_a_table_is_its_rows_in_json(store: ContextStore, table: object) -> None:
    ref = store.take(table)

    assert store.load(ref) == ['{"day": "2024-01-02", "n": 1}']
    assert ref.notes == ("each row is given as JSON; json.loads reads it",)


def test_what_contains_itself_is_refused(store: ContextStore) -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    for given in ([loop], deep, {"a": loop}):
        with pytest.raises(InputError, match="contains itself, or is nested too deep to be JSON"):
            store.take(given)
