"""What comes out of a command in a container."""

from __future__ import annotations

import asyncio

import pytest

from rlm_graph.executors.docker.stream import STDERR, ExecOutput

STDOUT = 1


def piece(stream: int, text: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


def output(*pieces: bytes) -> ExecOutput:
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(pieces))
    reader.feed_eof()
    return ExecOutput(reader)


async def test_both_outputs_are_told_apart() -> None:
    out = output(piece(STDOUT, b'{"a"'), piece(STDERR, b"warning"), piece(STDOUT, b": 1}\nmore"))

    assert [await out.read(100) for _ in range(2)] == [b'{"a"', b": 1}\nmore"]


async def test_what_does_not_fit_is_read_next() -> None:
    out = output(piece(STDOUT, b"{12345"))

    assert [await out.read(4) for _ in range(3)] == [b"{123", b"45", b""]


async def test_a_command_that_complains_and_ends_is_an_error_with_its_last_line() -> None:
    out = output(piece(STDERR, b"first\nno supervisor\n"))

    with pytest.raises(ConnectionError, match=r"^no supervisor$"):
        await out.read(100)


async def test_what_the_daemon_says_in_the_commands_place_is_an_error_and_no_output() -> None:
    out = output(piece(STDOUT, b"cannot exec in a stopped state: unknown\r\n"))

    with pytest.raises(ConnectionError, match=r"^cannot exec in a stopped state: unknown"):
        await out.read(100)
