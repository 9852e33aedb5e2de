"""What version 0.1.0 encrypted is read by every later one, and what was damaged of it is refused."""

from __future__ import annotations

import hmac
import io
from collections.abc import Iterator

import pytest
from Crypto.Cipher import AES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_graph.errors import StorageError
from rlm_graph.storage.encryption import MARK, Cipher
from rlm_graph.storage.encryption_v1 import BLOCK_BYTES

KEY = b"k" * 32
CIPHER = Cipher(KEY)
steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])

# Version 0.1.0 itself wrote these, under KEY.
VALUE = bytes.fromhex("c2169152fe1e30f35158ac5ea42e93fb90bcaee0b60a25b63067fdea3b5bdfcbdd")
TEXT = "XtQwG/PgS5+wA8lgVm06dPQCH6nr6EsNNnlaGO+5haVmW+xuUzjh"
STREAM = bytes.fromhex("f78e63a3a002be39dbd0bccefe74ba09ed0dbb8e9be7ffb19e4b950c131afcf5b5cc327d7b21526cb7aa65d40ff8")
EMPTY_STREAM = bytes.fromhex("f4c0d45ef7be53c4905e703bc70b93170a81361cfab872aaf07f6b28008c39de16b97f44803c5939")


def decrypted(data: bytes, label: bytes = b"") -> bytes:
    return b"".join(CIPHER.decrypt_blocks(io.BytesIO(data).read, label=label))


def blocks_of_version_1(*blocks: bytes) -> Iterator[bytes]:
    """A stream of several blocks, as version 0.1.0 wrote it: too long to stand here."""
    key, stream = hmac.digest(KEY, b"rlm-graph seal", "sha256"), bytes(range(12))
    yield stream
    for number, block in enumerate(blocks):
        nonce = number.to_bytes(12, "little")
        cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
        cipher.update(stream + number.to_bytes(8, "big") + (b"last" if number == len(blocks) - 1 else b""))
        content, tag = cipher.encrypt_and_digest(block)
        yield nonce + tag + content


def test_values_texts_and_streams_of_version_1_are_read() -> None:
    assert CIPHER.decrypt(VALUE, label=b"here") == b"value"
    assert CIPHER.decrypt_text(TEXT) == "text \ud800 é"
    assert decrypted(STREAM) == b"stream"
    assert decrypted(EMPTY_STREAM) == b""
    assert decrypted(STREAM, label=b"streams of version 0.1.0 have none") == b"stream"


def test_a_long_stream_of_version_1_is_read_whole_and_in_order_alone() -> None:
    head, *blocks = blocks_of_version_1(b"a" * BLOCK_BYTES, b"b" * BLOCK_BYTES, b"end")
    first, second, last = blocks

    assert decrypted(head + first + second + last) == b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES + b"end"
    for broken in (
        first + second, first, b"", second + first + last, first + last, first + first + last,
        first + second + last + b"x", first + second + last + last,
    ):  # fmt: skip
        with pytest.raises(StorageError, match="cannot be decrypted"):
            decrypted(head + broken)


@steady
@given(data=st.data())
def test_what_was_changed_or_cut_of_version_1_is_refused(data: st.DataObject) -> None:
    at, bit = data.draw(st.integers(0, len(VALUE) - 1)), 1 << data.draw(st.integers(0, 7))

    for broken in (VALUE[:at] + bytes([VALUE[at] ^ bit]) + VALUE[at + 1 :], VALUE[:at], VALUE + b"x", MARK + VALUE):
        with pytest.raises(StorageError, match="cannot be decrypted"):
            CIPHER.decrypt(broken, label=b"here")
    for broken in (STREAM[:at] + bytes([STREAM[at] ^ bit]) + STREAM[at + 1 :], STREAM[:at], MARK + STREAM):
        with pytest.raises(StorageError, match="cannot be decrypted"):
            decrypted(broken)
    with pytest.raises(StorageError):
        CIPHER.decrypt(VALUE, label=b"there")


def test_nothing_is_written_in_the_form_of_version_1() -> None:
    assert CIPHER.encrypt(b"value").startswith(MARK)
    assert next(CIPHER.encrypt_blocks(io.BytesIO(b"stream").read)).startswith(MARK)
