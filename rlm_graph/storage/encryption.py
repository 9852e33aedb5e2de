"""Encryption: under one key, whatever a run says leaves this process encrypted.

LangGraph's `EncryptedSerializer` covers what goes through a serializer. A `Cipher` covers the rest: the columns of our
own tables, snapshots, notes and contexts.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import Hint, SetupError, StorageError
from rlm_graph.storage.encryption_v1 import CipherV1

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol

KEY = "LANGGRAPH_AES_KEY"
"""The variable that holds the key, which is LangGraph's own: 16, 24 or 32 bytes."""

MARK = b"rlm-graph v2"
"""What every encrypted value and stream begins with.

In its place version 0.1.0 wrote 12 random bytes, of which 1 in 2^96 would be the mark. Who takes the mark away or adds
one gains nothing: the keys of the two versions differ, so that neither reads what the other one wrote.
"""
BLOCK_BYTES = 1 << 20
"""Of a stream, encrypted together."""


class Cipher:
    """Encrypts bytes, texts and streams under one key, so that nobody can read or change them without it.

    The constructions are libsodium's, through PyNaCl. A value is XChaCha20-Poly1305, whose nonces of 24 bytes may be
    random for as many values as one key will ever see. A stream is `secretstream`, which is made for files that are
    larger than memory: no block can be changed, left out, added or moved unseen. Their keys come from the one given by
    HKDF-SHA256 (RFC 5869). What version 0.1.0 wrote is still read.
    """

    def __init__(self, key: bytes) -> None:
        try:
            from Crypto.Hash import SHA256
            from Crypto.Protocol.KDF import HKDF
            from nacl.secret import Aead
        except ImportError as error:
            raise SetupError(f"encryption needs an extra: {error}", hint=Hint("install", "encrypt")) from error
        if len(key) not in (16, 24, 32):
            raise SetupError(f"{KEY} has {len(key)} bytes; give it 16, 24 or 32: `openssl rand -hex 16` prints 32")
        self._key = key
        # LangGraph's serializer uses the key itself: one key must not serve two constructions.
        derived = bytes(HKDF(key, 64, b"", SHA256, context=MARK))
        self._values, self._stream_key = Aead(derived[:32]), derived[32:]
        self._v1 = CipherV1(key)

    @classmethod
    def from_environment(cls) -> Cipher:
        """Take the key from `LANGGRAPH_AES_KEY`. Raises `SetupError` if there is none, or none that fits."""
        key = os.environ.get(KEY)
        if not key:
            raise SetupError(f"encryption needs a key: set {KEY} to 16, 24 or 32 bytes, and keep it: it opens the runs")
        return cls(key.encode())

    def serializer(self, serde: SerializerProtocol) -> SerializerProtocol:
        """Return LangGraph's serializer that encrypts what `serde` makes, and that reads nothing else.

        Its own reads what is not encrypted as it is: somebody who can write to the database could put in an answer.
        Raises `StorageError` for that, and for what was changed or was encrypted under another key.
        """
        from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

        class StrictSerializer(EncryptedSerializer):
            def loads_typed(self, data: tuple[str, bytes]) -> Any:
                if not data[0].endswith("+aes"):
                    raise StorageError(
                        f"a value of the form {data[0]!r} is not encrypted, as all of this database is: who wrote it "
                        "had no key"
                    )
                return super().loads_typed(data)

        return StrictSerializer.from_pycryptodome_aes(serde, key=self._key)

    def encrypt(self, data: bytes, *, label: bytes = b"") -> bytes:
        """Return `data` encrypted. What has another `label` cannot stand in its place."""
        return MARK + self._values.encrypt(data, label)

    def decrypt(self, encrypted: bytes, *, label: bytes = b"") -> bytes:
        """Return what was encrypted. Raises `StorageError` if another key or label encrypted it, or it is damaged."""
        with _told():
            if encrypted.startswith(MARK):
                return self._values.decrypt(encrypted[len(MARK) :], label)
            return self._v1.decrypt(encrypted, label=label)

    def encrypt_text(self, text: str) -> str:
        """Return a text encrypted, as ASCII."""
        return base64.b64encode(self.encrypt(text.encode("utf-8", "surrogatepass"))).decode()

    def decrypt_text(self, encrypted: str) -> str:
        """Return the text that was encrypted. Raises `StorageError`."""
        try:
            data = base64.b64decode(encrypted, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        return self.decrypt(data).decode("utf-8", "surrogatepass")

    def encrypt_blocks(self, read: Callable[[int], bytes], *, label: bytes = b"") -> Iterator[bytes]:
        """Encrypt a long stream, which `read(size)` gives. One with another `label` cannot stand in its place."""
        from nacl import bindings as sodium

        state = sodium.crypto_secretstream_xchacha20poly1305_state()
        yield MARK + sodium.crypto_secretstream_xchacha20poly1305_init_push(state, self._stream_key)
        block, tag = read(BLOCK_BYTES), sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
        while following := read(BLOCK_BYTES):
            yield sodium.crypto_secretstream_xchacha20poly1305_push(state, block, label, tag)
            block = following
        tag = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL
        yield sodium.crypto_secretstream_xchacha20poly1305_push(state, block, label, tag)

    def decrypt_blocks(self, read: Callable[[int], bytes], *, label: bytes = b"") -> Iterator[bytes]:
        """Yield what was encrypted as a stream. Raises `StorageError`, at the latest at its end.

        Streams of version 0.1.0 have no label.
        """
        from nacl import bindings as sodium

        begin = read(len(MARK))
        with _told():
            if begin != MARK:
                yield from self._v1.decrypt_blocks(begin, read)
                return
            state = sodium.crypto_secretstream_xchacha20poly1305_state()
            header = read(sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES)
            sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, self._stream_key)
            tag, size = None, BLOCK_BYTES + sodium.crypto_secretstream_xchacha20poly1305_ABYTES
            while tag != sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL:
                block, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, read(size), label)
                yield block
            if read(1):
                raise ValueError("there is more after the end")

    def name(self, name: str) -> str:
        """Return 64 hex digits in the place of a name, which do not tell it to those without the key.

        They are keys of notes and names of files: they stay what they were in version 0.1.0.
        """
        return hmac.digest(hmac.digest(self._key, b"rlm-graph name", "sha256"), name.encode(), "sha256").hex()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the libraries raise for a value that does not authenticate into a `StorageError`."""
    from nacl.exceptions import CryptoError

    try:
        yield
    except (CryptoError, ValueError) as error:
        raise StorageError(f"what is encrypted cannot be decrypted: damaged, or {KEY} is not its key") from error
