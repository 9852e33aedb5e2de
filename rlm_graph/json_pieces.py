"""JSON of large values, piece by piece: whoever writes 150 MB in one call of C's holds up every other thread meanwhile.

In a thread too such a call holds Python's lock, and with it the event loop. `rlm_graph.executors.host.large_frames`
reads what this writes.
"""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

LARGE = 1 << 20
"""What `weight` returns for values that are worth a thread."""
PIECE = 1 << 17
"""Of a value that is written in one call."""
_ITEM = 16
"""Characters that any value counts for, however short it is."""


def weight(value: Any, enough: int = LARGE) -> int:
    """Return about how many characters of JSON a value has: any number from `enough` on if they are as many.

    What takes longer to find out is not looked at.
    """
    found, pending = 0, [value]
    while pending and found < enough:
        part = pending.pop()
        found += _ITEM
        if isinstance(part, str):
            found += len(part)
        elif isinstance(part, dict):
            found += len(part) * _ITEM
            if found < enough:
                pending.extend(part.values())
                found += sum(len(key) for key in part if isinstance(key, str))
        elif isinstance(part, list | tuple):
            found += len(part) * _ITEM
            if found < enough:
                pending.extend(part)
    return found


def json_pieces(
    value: Any, *, sort_keys: bool = False, ensure_ascii: bool = True, allow_nan: bool = True
) -> Iterator[str]:
    """Yield what `json.dumps` returns for the value, without spaces, in pieces of which none is large.

    Raises what `json.dumps` raises for what has no form in JSON.
    """
    dumped = functools.partial(
        json.dumps, sort_keys=sort_keys, ensure_ascii=ensure_ascii, separators=(",", ":"), allow_nan=allow_nan
    )
    pieces = functools.partial(json_pieces, sort_keys=sort_keys, ensure_ascii=ensure_ascii, allow_nan=allow_nan)
    if weight(value, PIECE) < PIECE or isinstance(value, bool | int | float):
        yield dumped(value)
    elif isinstance(value, str):
        yield '"'
        for at in range(0, len(value), PIECE):
            yield dumped(value[at : at + PIECE])[1:-1]
        yield '"'
    elif isinstance(value, dict) and all(type(key) is str for key in value):
        start = "{"
        for key, part in sorted(value.items(), key=lambda item: item[0]) if sort_keys else value.items():
            yield start
            yield from pieces(key)
            yield ":"
            yield from pieces(part)
            start = ","
        yield "}"
    elif isinstance(value, list | tuple):
        yield from _list_pieces(value, dumped, pieces)
    else:
        yield dumped(value)


def indented_json(value: Any) -> str:
    """Return what `json.dumps` returns with `ensure_ascii=False` and an indent of 2, with long texts in pieces."""
    mark, texts = secrets.token_hex(16), []

    def short(part: Any) -> Any:
        if isinstance(part, str) and len(part) >= PIECE:
            texts.append(part)
            return mark
        if isinstance(part, dict):
            return {key: short(each) for key, each in part.items()}
        return list(map(short, part)) if isinstance(part, list | tuple) else part

    if weight(value, PIECE) < PIECE:
        return json.dumps(value, ensure_ascii=False, indent=2)
    first, *rest = json.dumps(short(value), ensure_ascii=False, indent=2).split(f'"{mark}"')
    pieces = [first]
    for text, behind in zip(texts, rest, strict=True):
        pieces += json_pieces(text, ensure_ascii=False)
        pieces.append(behind)
    return "".join(pieces)


def _list_pieces(
    values: Sequence[Any], dumped: Callable[[Any], str], pieces: Callable[[Any], Iterator[str]]
) -> Iterator[str]:
    together: list[Any] = []
    held, start = 0, "["
    for value in values:
        size = weight(value, PIECE)
        if together and held + size >= PIECE:
            yield start + dumped(together)[1:-1]
            together, held, start = [], 0, ","
        if size >= PIECE:
            yield start
            yield from pieces(value)
            start = ","
        else:
            together.append(value)
            held += size
    if together:
        yield start + dumped(together)[1:-1]
    yield "]"
