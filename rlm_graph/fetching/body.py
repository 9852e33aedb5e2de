"""The body of an answer, unpacked no further than it may become large."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

BLOCK = 1 << 18
"""The most bytes that are unpacked at a time."""
ACCEPTED = "gzip, deflate"
"""The content encodings that are asked for: those that can be unpacked by a bounded amount at a time.

Neither Brotli's nor Zstandard's Python packages promise that in the versions in use; a few bytes of theirs may become
gigabytes in one step.
"""
MAX_LAYERS = 3


class TooLarge(ValueError):
    """The body is larger than was allowed."""


class Body:
    """Unpacks a body as it comes in: feed it what the server sent, in order, then call `end`.

    `limit` bounds the body, counted in bytes after unpacking, whatever the headers claim; each layer of a body that
    was packed several times is bounded by it.
    """

    def __init__(self, content_encoding: str, *, limit: int) -> None:
        """Raises `ValueError` for an encoding that was not asked for."""
        names = [name.strip().lower() for name in content_encoding.split(",")]
        layers = [name for name in names if name not in ("", "identity")]
        if len(layers) > MAX_LAYERS:
            raise ValueError(f"the answer is packed {len(layers)} times over")
        self._layers = [_Inflated(name) for name in reversed(layers)]
        self._limit = limit
        self._counts = [0] * (len(self._layers) + 1)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` unpacks to. Raises `TooLarge`, or `ValueError` for data that cannot be unpacked."""
        return self._through(data, 0)

    def end(self) -> None:
        """Raise `ValueError` if the body stopped half-way."""
        if not all(layer.is_whole for layer in self._layers):
            raise ValueError("the answer ends half-way")

    def _through(self, data: bytes, layer: int) -> Iterator[bytes]:
        self._counts[layer] += len(data)
        if self._counts[layer] > self._limit:
            raise TooLarge
        if layer == len(self._layers):
            yield data
            return
        for piece in self._layers[layer].feed(data):
            yield from self._through(piece, layer + 1)


class _Inflated:
    """One layer of gzip or deflate."""

    def __init__(self, name: str) -> None:
        if name not in ("gzip", "x-gzip", "deflate"):
            raise ValueError(f"the answer is packed as {name[:40]!r}, which was not asked for")
        self._gzip = name != "deflate"
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16) if self._gzip else None
        self._begun = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing. An empty body is whole."""
        return not self._begun or (self._inflater is not None and self._inflater.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` unpacks to, `BLOCK` bytes at most at a time."""
        piece = b""
        while data or len(piece) == BLOCK:  # a full piece may have left more inside, even of no further input
            inflater = self._next(data)
            if inflater is None:
                return
            try:
                piece = inflater.decompress(data, BLOCK)
            except zlib.error as error:
                raise ValueError(f"the answer cannot be unpacked: {error}") from None
            data = inflater.unconsumed_tail or inflater.unused_data
            if piece:
                yield piece

    def _next(self, data: bytes) -> zlib._Decompress | None:
        """Return what unpacks `data`, or nothing if it is padding behind the end."""
        if self._inflater is None:
            # Servers send deflate with the wrapper of RFC 1950, as they should, or without, as some do.
            wrapped = data[0] & 0x0F == 8
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        elif self._inflater.eof:
            if not self._gzip or not data.startswith(b"\x1f"):
                return None
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)  # another member, as RFC 1952 allows
        self._begun = True
        return self._inflater
