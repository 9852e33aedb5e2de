"""The cipher: what it encrypts is decrypted with its own key alone, whole and in its own place."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rlm_graph.errors import SetupError, StorageError
from rlm_graph.storage.encryption import BLOCK_BYTES, MARK, Cipher

KEY = b"k" * 32
CIPHER = Cipher(KEY)
steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
HEAD = len(MARK) + 24
"""What a stream begins with: the mark, and the header of libsodium's secretstream."""
BLOCK = BLOCK_BYTES + 17
"""A block of a stream: what it says, its tag and its authenticator."""


def encrypted(data: bytes, label: bytes = b"") -> bytes:
    return b"".join(CIPHER.encrypt_blocks(io.BytesIO(data).read, label=label))


def decrypted(data: bytes, key: bytes = KEY, label: bytes = b"") -> bytes:
    return b"".join(Cipher(key).decrypt_blocks(io.BytesIO(data).read, label=label))


@steady
@given(text=st.text(st.characters(exclude_categories=())))
@example("lone \ud800 surrogate")
@example("\N{PILE OF POO}\r\n\u2028")
def test_a_text_comes_back_as_it_was(text: str) -> None:
    assert CIPHER.decrypt_text(CIPHER.encrypt_text(text)) == text
    assert CIPHER.encrypt_text(text) != CIPHER.encrypt_text(text)
    assert CIPHER.encrypt_text(text).isascii()


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_a_stream_comes_back_as_it_was(size: int) -> None:
    data = (bytes(number % 251 for number in range(1000)) * (size // 1000 + 1))[:size]

    assert decrypted(encrypted(data)) == data
    assert encrypted(data[:100]) != encrypted(data[:100])


def test_a_stream_whose_blocks_were_left_out_added_or_moved_is_refused() -> None:
    whole = encrypted(b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES + b"end")
    head, first, second = whole[:HEAD], whole[HEAD : HEAD + BLOCK], whole[HEAD + BLOCK : HEAD + 2 * BLOCK]
    last = whole[HEAD + 2 * BLOCK :]
    orders = [blocks for count in range(5) for blocks in itertools.product((first, second, last), repeat=count)]

    assert decrypted(head + first + second + last)
    for blocks in orders:
        if blocks != (first, second, last):
            with pytest.raises(StorageError, match="cannot be decrypted"):
                decrypted(head + b"".join(blocks))


def test_a_stream_that_goes_on_after_its_end_is_refused() -> None:
    for content in (b"", b"end", b"a" * BLOCK_BYTES):
        whole = encrypted(content)
        for more in (b"x", whole, whole[HEAD:]):
            with pytest.raises(StorageError, match="cannot be decrypted"):
                decrypted(whole + more)


def test_a_block_of_another_stream_is_refused() -> None:
    one, another = encrypted(b"a" * BLOCK_BYTES + b"end"), encrypted(b"a" * BLOCK_BYTES + b"end")

    for mixed in (one[:HEAD] + another[HEAD:], one[: HEAD + BLOCK] + another[HEAD + BLOCK :]):
        with pytest.raises(StorageError):
            decrypted(mixed)


@steady
@given(data=st.data(), content=st.binary(max_size=100))
def test_what_was_changed_cut_or_extended_anywhere_is_refused(data: st.DataObject, content: bytes) -> None:
    value, stream = CIPHER.encrypt(content, label=b"here"), encrypted(content, b"here")
    for whole, decrypt in (
        (value, lambda broken: CIPHER.decrypt(broken, label=b"here")),
        (stream, lambda broken: decrypted(broken, label=b"here")),
    ):
        at = data.draw(st.integers(0, len(whole) - 1))
        bit = 1 << data.draw(st.integers(0, 7))
        more = data.draw(st.binary(min_size=1, max_size=40))

        assert decrypt(whole) == content
        for broken in (
            whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :], whole[:at], whole[at + 1 :],
            whole[:at] + more + whole[at:], whole + more, whole + whole, whole[len(MARK) :],
        ):  # fmt: skip
            if broken != whole:
                with pytest.raises(StorageError, match="cannot be decrypted"):
                    decrypt(broken)


@steady
@given(junk=st.binary(max_size=200))
def test_what_was_never_encrypted_is_refused(junk: bytes) -> None:
    for begin in (b"", MARK):
        with pytest.raises(StorageError):
            CIPHER.decrypt(begin + junk)
        with pytest.raises(StorageError):
            decrypted(begin + junk)
    with pytest.raises(StorageError):
        CIPHER.decrypt_text("in the clear")


def test_another_key_label_or_form_decrypts_nothing() -> None:
    other = Cipher(b"l" * 32)

    with pytest.raises(StorageError):
        other.decrypt_text(CIPHER.encrypt_text("text"))
    with pytest.raises(StorageError):
        CIPHER.decrypt(CIPHER.encrypt(b"text", label=b"here"), label=b"there")
    with pytest.raises(StorageError):
        decrypted(encrypted(b"text"), b"l" * 32)
    with pytest.raises(StorageError):
        decrypted(encrypted(b"text", b"here"), label=b"there")
    with pytest.raises(StorageError):
        decrypted(CIPHER.encrypt(b"text"))
    with pytest.raises(StorageError):
        CIPHER.decrypt(encrypted(b"text"))


def test_a_name_is_what_it_was_in_every_version() -> None:
    assert CIPHER.name("name") == "c71aad595256d7da344bacf825757552ab87a6a2230d1c79bf7f19c7c9a86007"
    assert Cipher(b"l" * 32).name("name") != CIPHER.name("name") != CIPHER.name("other")


def test_the_serializer_is_langgraphs_own() -> None:
    serde = JsonPlusSerializer()

    kind, data = CIPHER.serializer(serde).dumps_typed("a secret")

    assert (kind, b"secret" in data) == ("msgpack+aes", False)
    assert CIPHER.serializer(serde).loads_typed((kind, data)) == "a secret"


def test_the_serializer_reads_nothing_that_is_not_encrypted_under_its_key() -> None:
    serde = JsonPlusSerializer()
    kind, data = Cipher(b"l" * 32).serializer(serde).dumps_typed("a secret")

    for forged in (serde.dumps_typed("an answer"), ("null", b""), ("msgpack+none", b""), ("", b"")):
        with pytest.raises(StorageError, match="is not encrypted"):
            CIPHER.serializer(serde).loads_typed(forged)
    with pytest.raises(ValueError, match="MAC"):
        CIPHER.serializer(serde).loads_typed((kind, data))


@pytest.mark.parametrize("key", ["", "short", "x" * 33])
def test_a_key_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("LANGGRAPH_AES_KEY", key)

    with pytest.raises(SetupError, match="16, 24 or 32"):
        Cipher.from_environment()
