"""A body is unpacked as it comes in, and no further than it may become large."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest

from rlm_graph.fetching import Body, TooLarge

TEXT = bytes(range(256)) * 400


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def unpacked(encoding: str, pieces: Iterable[bytes], limit: int = 1 << 30) -> bytes:
    body = Body(encoding, limit=limit)
    result = b"".join(piece for data in pieces for piece in body.feed(data))
    body.end()
    return result


@pytest.mark.parametrize("step", [1, 1000, 1 << 30])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("X-GZip", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
        ("gzip", gzip.compress(TEXT) + b"\0" * 100),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    ],
)
def test_what_was_packed_is_unpacked_in_whatever_pieces_it_comes(encoding: str, data: bytes, step: int) -> None:
    assert unpacked(encoding, [data[start : start + step] for start in range(0, len(data), step)]) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip"])
def test_a_small_body_that_becomes_large_is_given_up_before_it_is(encoding: str) -> None:
    data = b"0" * 100_000_000
    for name in encoding.split(", "):
        data = gzip.compress(data) if name == "gzip" else zlib.compress(data)
    body = Body(encoding, limit=1_000_000)

    tracemalloc.start()
    with pytest.raises(TooLarge):
        sum(map(len, body.feed(data)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 4_000_000


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip, gzip, gzip"])
def test_a_packing_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match="packed"):
        Body(encoding, limit=1)


def test_a_body_that_is_cut_or_broken_is_refused() -> None:
    with pytest.raises(ValueError, match="ends half-way"):
        unpacked("gzip", [gzip.compress(TEXT)[:-10]])
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpacked("gzip", [b"no gzip"])
    assert unpacked("gzip", []) == b""
