"""Large frames are read piece by piece, and come out as those that are read in one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_graph.executors.host.large_frames import LARGE_BYTES, TEXT_BYTES, FrameReader, decode_large, encoded
from rlm_graph.executors.sandbox.frames import MAX_FRAME, FrameError, decode, encode

TEXT = st.text(st.sampled_from(["a", '"', "\\", "\n", "é", "\U0001f600", "\ud83d", "\udc00", "u", "\x00", "d", "8"]))
LONG = TEXT.map(lambda text: text + "x" * TEXT_BYTES + text)
VALUES = st.recursive(TEXT | LONG | st.integers(0, 99) | st.none(), lambda inner: st.lists(inner, max_size=3))


@given(st.dictionaries(TEXT | LONG, VALUES, max_size=3), st.data())
def test_a_frame_in_pieces_is_the_frame_in_one(frame: dict[str, Any], data: st.DataObject) -> None:
    line = json.dumps(frame).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(line)), max_size=6)))

    pieces = [line[start:end] for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True)]

    assert decode_large(pieces) == decode(line)


@given(st.dictionaries(TEXT | LONG, VALUES, max_size=3))
async def test_a_frame_that_is_written_in_pieces_is_the_frame_in_one(frame: dict[str, Any]) -> None:
    frame = {**frame, "large": "x" * LARGE_BYTES}

    pieces = await encoded(frame)

    assert len(pieces) > 1
    assert max(map(len, pieces)) < 2 * LARGE_BYTES
    assert b"".join(pieces) == encode(frame)


@pytest.mark.parametrize("value", ["x" * MAX_FRAME, ["x" * LARGE_BYTES, float("nan")], ["x" * LARGE_BYTES, object()]])
async def test_what_no_frame_can_say_is_refused_in_pieces_too(value: Any) -> None:
    with pytest.raises(FrameError):
        await encoded({"value": value})


@pytest.mark.parametrize("broken", [b"\\uZZZZ", b"\\q", b"\n", b"\x00", b"\\", b'"x', b"\\ud83"])
def test_what_is_no_frame_in_one_is_none_in_pieces(broken: bytes) -> None:
    line = b'{"a": "' + b"x" * TEXT_BYTES + broken + b'"}'

    for read in (decode, lambda line: decode_large([line[: TEXT_BYTES // 2], line[TEXT_BYTES // 2 : -3], line[-3:]])):
        with pytest.raises(FrameError):
            read(line)


async def test_no_call_reads_more_than_a_piece_of_a_large_text() -> None:
    text = 'é"😀' * (5 * LARGE_BYTES // 20)
    line = json.dumps({"final": {"value": text}}).encode() + b"\n"
    read: list[int] = []

    def counted(skeleton: bytes) -> Any:
        read.append(len(skeleton))
        return decode(skeleton)

    reader, frames = FrameReader(counted), []
    for start in range(0, len(line), 1000):
        frames += [frame async for frame in reader.feed(line[start : start + 1000])]

    assert frames == [{"final": {"value": text}}]
    assert len(line) > LARGE_BYTES
    assert max(read) < 100  # all but the text


async def test_the_loop_goes_on_while_a_large_frame_is_read() -> None:
    """Counted: the frame that is read waits in its thread until the loop has gone round a hundred times."""
    rounds = 0
    loop = asyncio.get_running_loop()
    enough = asyncio.Event()

    def counted(skeleton: bytes) -> Any:
        asyncio.run_coroutine_threadsafe(enough.wait(), loop).result(60)
        return decode(skeleton)

    async def go_round() -> None:
        nonlocal rounds
        while rounds < 100:
            await asyncio.sleep(0)
            rounds += 1
        enough.set()

    going = asyncio.create_task(go_round())
    line = json.dumps({"a": "x" * LARGE_BYTES}).encode() + b"\n"
    [frame] = [frame async for frame in FrameReader(counted).feed(line)]
    await going

    assert rounds == 100
    assert len(frame["a"]) == LARGE_BYTES


async def test_frames_that_come_together_keep_their_order_and_none_is_longer_than_it_may_be() -> None:
    lines = [b'{"n": 1}', json.dumps({"n": "x" * LARGE_BYTES}).encode(), b'{"n": 3}']

    frames = [frame async for frame in FrameReader().feed(b"\n".join([*lines, b""]))]

    assert frames == [decode(line) for line in lines]
    with pytest.raises(FrameError, match="longer"):
        await endless(FrameReader())


async def endless(reader: FrameReader) -> None:
    for _ in range(MAX_FRAME // LARGE_BYTES + 2):
        assert [frame async for frame in reader.feed(b"x" * LARGE_BYTES)] == []
