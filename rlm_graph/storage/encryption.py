"""Encryption: under one key, whatever a run says leaves this process sealed.

LangGraph's `EncryptedSerializer` covers what goes through a serializer. A `Cipher` covers the rest: the columns of our
own tables, what PostgreSQL's saver keeps beside the serializer, snapshots, and contexts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rlm_graph.errors import SetupError, StorageError

if TYPE_CHECKING:
    from Crypto.Cipher._mode_gcm import GcmMode
    from langgraph.checkpoint.serde.base import SerializerProtocol

KEY = "LANGGRAPH_AES_KEY"
"""The variable that holds the key, which is LangGraph's own: 16, 24 or 32 bytes."""

NONCE_BYTES = 12
TAG_BYTES = 16
BLOCK_BYTES = 1 << 20
"""Of a stream, sealed together."""


class Cipher:
    """Seals bytes and texts under one key (AES-GCM), so that nobody can read or change them without it."""

    def __init__(self, key: bytes) -> None:
        try:
            from Crypto.Cipher import AES
        except ImportError as error:
            raise SetupError(f"{error}; encryption needs an extra: pip install 'rlm-graph[encrypt]'") from error
        if len(key) not in (16, 24, 32):
            raise SetupError(f"{KEY} has {len(key)} bytes; give it 16, 24 or 32: `openssl rand -hex 16` prints 32")
        self._key = key
        # LangGraph's serializer uses the key itself, in another mode: one key must not serve two.
        own = self._derived("seal")
        self._cipher: Callable[[bytes], GcmMode] = lambda nonce: AES.new(own, AES.MODE_GCM, nonce=nonce)

    @classmethod
    def from_environment(cls) -> Cipher:
        """Take the key from `LANGGRAPH_AES_KEY`. Raises `SetupError` if there is none, or none that fits."""
        key = os.environ.get(KEY)
        if not key:
            raise SetupError(f"encryption needs a key: set {KEY} to 16, 24 or 32 bytes, and keep it: it opens the runs")
        return cls(key.encode())

    def serializer(self, serde: SerializerProtocol) -> SerializerProtocol:
        """Return LangGraph's serializer that encrypts what `serde` makes."""
        from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

        return EncryptedSerializer.from_pycryptodome_aes(serde, key=self._key)

    def encrypt(self, data: bytes, *, label: bytes = b"") -> bytes:
        """Return `data` sealed. What has another `label` cannot stand in its place."""
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._cipher(nonce)
        cipher.update(label)
        sealed, tag = cipher.encrypt_and_digest(data)
        return nonce + tag + sealed

    def decrypt(self, sealed: bytes, *, label: bytes = b"") -> bytes:
        """Return what was sealed. Raises `StorageError` if it was sealed under another key, or is damaged."""
        cipher = self._cipher(sealed[:NONCE_BYTES].ljust(NONCE_BYTES))
        cipher.update(label)
        head = NONCE_BYTES + TAG_BYTES
        try:
            return cipher.decrypt_and_verify(sealed[head:], sealed[NONCE_BYTES:head])
        except ValueError as error:
            raise StorageError(f"what is encrypted cannot be opened: damaged, or {KEY} is not its key") from error

    def encrypt_text(self, text: str) -> str:
        """Return a text sealed, as ASCII."""
        return base64.b64encode(self.encrypt(text.encode("utf-8", "surrogatepass"))).decode()

    def decrypt_text(self, sealed: str) -> str:
        """Return the text that was sealed. Raises `StorageError`."""
        try:
            data = base64.b64decode(sealed, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        return self.decrypt(data).decode("utf-8", "surrogatepass")

    def encrypt_blocks(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        """Seal a long stream, which `read(size)` gives, block by block: none can be left out, added or moved unseen."""
        stream, number = os.urandom(NONCE_BYTES), 0
        yield stream
        block = read(BLOCK_BYTES)
        while following := read(BLOCK_BYTES):
            yield self.encrypt(block, label=_label(stream, number))
            block, number = following, number + 1
        yield self.encrypt(block, label=_label(stream, number, last=True))

    def decrypt_blocks(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        """Yield what was sealed block by block. Raises `StorageError`, at the latest at its end."""
        size = NONCE_BYTES + TAG_BYTES + BLOCK_BYTES
        stream, number, sealed = read(NONCE_BYTES), 0, read(size)
        while following := read(size):
            yield self.decrypt(sealed, label=_label(stream, number))
            sealed, number = following, number + 1
        yield self.decrypt(sealed, label=_label(stream, number, last=True))

    def name(self, name: str) -> str:
        """Return 64 hex digits in the place of a name, which do not tell it to those without the key."""
        return hmac.digest(self._derived("name"), name.encode(), "sha256").hex()

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self._key, f"rlm-graph {purpose}".encode(), hashlib.sha256)


def _label(stream: bytes, number: int, *, last: bool = False) -> bytes:
    return stream + number.to_bytes(8, "big") + (b"last" if last else b"")
