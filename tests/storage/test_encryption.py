"""The cipher: what it seals opens under its own key alone, whole and in its own place."""

from __future__ import annotations

import io

import pytest

from rlm_graph.errors import SetupError, StorageError
from rlm_graph.storage.encryption import BLOCK_BYTES, NONCE_BYTES, TAG_BYTES, Cipher

KEY = b"k" * 32


def sealed(data: bytes) -> bytes:
    return b"".join(Cipher(KEY).encrypt_blocks(io.BytesIO(data).read))


def opened(data: bytes, key: bytes = KEY) -> bytes:
    return b"".join(Cipher(key).decrypt_blocks(io.BytesIO(data).read))


@pytest.mark.parametrize("text", ["", "plain", "lone \ud800 surrogate", "\N{PILE OF POO}\r\n\u2028"])
def test_a_text_comes_back_as_it_was(text: str) -> None:
    cipher = Cipher(KEY)

    assert cipher.decrypt_text(cipher.encrypt_text(text)) == text
    assert cipher.encrypt_text(text) != cipher.encrypt_text(text)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_a_stream_comes_back_as_it_was(size: int) -> None:
    data = bytes(number % 251 for number in range(1000)) * (size // 1000 + 1)

    assert opened(sealed(data[:size])) == data[:size]


def test_a_stream_that_was_cut_turned_round_or_changed_is_refused() -> None:
    whole = sealed(b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES + b"end")
    block = NONCE_BYTES + TAG_BYTES + BLOCK_BYTES
    head, first = whole[:NONCE_BYTES], whole[NONCE_BYTES : NONCE_BYTES + block]
    second = whole[NONCE_BYTES + block : NONCE_BYTES + 2 * block]
    last = whole[NONCE_BYTES + 2 * block :]
    assert opened(head + first + second + last)

    for broken in (
        head + first + second, head + first, head, b"", head + second + first + last, head + first + last,
        head + first + first + last, whole[:-1], whole + b"x", b"x" + whole[1:], whole[:-1] + bytes([whole[-1] ^ 1]),
    ):  # fmt: skip
        with pytest.raises(StorageError, match="cannot be opened"):
            opened(broken)


def test_another_key_or_another_place_opens_nothing() -> None:
    cipher = Cipher(KEY)

    with pytest.raises(StorageError):
        Cipher(b"l" * 32).decrypt_text(cipher.encrypt_text("text"))
    with pytest.raises(StorageError):
        cipher.decrypt(cipher.encrypt(b"text", label=b"here"), label=b"there")
    with pytest.raises(StorageError):
        cipher.decrypt_text("in the clear")
    assert Cipher(b"l" * 32).name("a") != cipher.name("a") == Cipher(KEY).name("a")


@pytest.mark.parametrize("key", ["", "short", "x" * 33])
def test_a_key_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("LANGGRAPH_AES_KEY", key)

    with pytest.raises(SetupError, match="16, 24 or 32"):
        Cipher.from_environment()
