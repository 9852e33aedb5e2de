"""What version 0.1.0 encrypted: read, and written no more.

Its values are AES-GCM (a nonce of 12 bytes, a tag of 16, the rest), and its streams such values in a row, each bound to
the stream's own 12 bytes and to its number.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator

NONCE_BYTES = 12
TAG_BYTES = 16
BLOCK_BYTES = 1 << 20


class CipherV1:
    """Decrypts what version 0.1.0 encrypted. Every method raises `ValueError` for what is damaged or of another key."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"rlm-graph seal", "sha256")

    def decrypt(self, encrypted: bytes, *, label: bytes = b"") -> bytes:
        """Return the value that was encrypted under this label."""
        from Crypto.Cipher import AES

        head = NONCE_BYTES + TAG_BYTES
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=encrypted[:NONCE_BYTES].ljust(NONCE_BYTES))
        cipher.update(label)
        return cipher.decrypt_and_verify(encrypted[head:], encrypted[NONCE_BYTES:head])

    def decrypt_blocks(self, stream: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
        """Yield the blocks of a stream that began with the 12 bytes `stream` and goes on in `read(size)`."""
        size = NONCE_BYTES + TAG_BYTES + BLOCK_BYTES
        number, encrypted = 0, read(size)
        while following := read(size):
            yield self.decrypt(encrypted, label=stream + number.to_bytes(8, "big"))
            encrypted, number = following, number + 1
        yield self.decrypt(encrypted, label=stream + number.to_bytes(8, "big") + b"last")
