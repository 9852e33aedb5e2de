"""JSON in pieces is the JSON that it would be in one, and no piece of it is large."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from rlm_graph.json_pieces import LARGE, PIECE, indented_json, json_pieces, weight

N = 3 * PIECE
VALUES: dict[str, Any] = {
    "a text": "x" * N,
    "marks, control characters and surrogates": '"\\\n\x00é\U0001f600\udc80' * (N // 8),
    "a list of texts": ["y" * (PIECE // 3)] * 12,
    "a list of large texts": ["y" * N, 1, "z" * N, [], "z" * N],
    "many small values": [[n, None, True, 1.5, {"a": n}] for n in range(20_000)],
    "objects": {"b": "x" * N, "a": {"d" * N: [1], "c": ["x" * N]}, "": None},
    "a tuple": ("x" * N, 2),
    "small": {"b": [1, "é"], "a": None},
    "a number": 10**20,
}


@pytest.mark.parametrize("options", [{}, {"sort_keys": True}, {"ensure_ascii": False}])
@pytest.mark.parametrize("name", VALUES)
def test_the_pieces_are_together_what_json_is_at_once(name: str, options: dict[str, bool]) -> None:
    pieces = list(json_pieces(VALUES[name], **options))

    assert "".join(pieces) == json.dumps(VALUES[name], separators=(",", ":"), **options)
    assert max(map(len, pieces)) <= 13 * PIECE


@pytest.mark.parametrize("name", VALUES)
def test_indented_json_is_what_it_would_be_at_once(name: str) -> None:
    assert indented_json(VALUES[name]) == json.dumps(VALUES[name], ensure_ascii=False, indent=2)


def test_values_made_by_chance_too() -> None:
    chance = random.Random(1)

    def made(depth: int) -> Any:
        kind = chance.randrange(6 if depth else 3)
        if kind < 3:
            return "aé\U0001f600"[kind] * chance.choice([1, 100, PIECE])
        parts = [made(depth - 1) for _ in range(chance.randrange(6))]
        return parts if kind < 5 else {f"{n}": part for n, part in enumerate(parts)}

    for _ in range(60):
        value = made(4)
        assert "".join(json_pieces(value)) == json.dumps(value, separators=(",", ":"))
        assert indented_json(value) == json.dumps(value, ensure_ascii=False, indent=2)


def test_what_has_no_form_in_json_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        list(json_pieces(["x" * N, float("nan")], allow_nan=False))
    with pytest.raises(TypeError):
        list(json_pieces(["x" * N, object()]))


class Untouched(list[Any]):
    """A list that nobody may go through."""

    def __iter__(self) -> Any:
        raise AssertionError("it was gone through")


def test_a_weight_is_found_without_a_look_at_what_is_beyond_enough() -> None:
    assert weight(Untouched([0] * LARGE)) >= LARGE
    assert weight({"a": "x" * LARGE, "b": 1}) >= LARGE
    assert weight(["x" * (LARGE // 2)] * 3) >= LARGE
    assert weight({"a": [1, "two", None]}) < 200
