"""Contexts that lie on disk encrypted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rlm_graph.context.encrypted import EncryptedContextStore
from rlm_graph.errors import InputError, StorageError
from rlm_graph.storage.encryption import Cipher

KEY = b"k" * 32
ANOTHER_PROCESS = """
import sys
from pathlib import Path
from rlm_graph.context.encrypted import EncryptedContextStore
from rlm_graph.storage.encryption import Cipher
store = EncryptedContextStore(Path(sys.argv[1]), cipher=Cipher(b"k" * 32))
ref = store.take("the secret")
print(store.folder(ref), flush=True)
sys.stdin.read(1)
"""


@pytest.fixture
def store(tmp_path: Path) -> EncryptedContextStore:
    return EncryptedContextStore(tmp_path / "contexts", cipher=Cipher(KEY))


@pytest.mark.parametrize("context", ["the secret", ["the secret", "\ud800 é"], {"a": "the secret", "b": ""}])
def test_what_was_taken_in_comes_back_and_cannot_be_read_without_the_key(
    store: EncryptedContextStore, tmp_path: Path, context: object
) -> None:
    ref = store.take(context)
    store.forget_decrypted()

    assert store.load(ref) == context
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"text", "index.json"}
    assert not any(b"secret" in path.read_bytes() for path in files)
    assert ref.sha256 not in str(files)
    assert len(list(store.all())) == 1


def test_it_is_stored_once_and_forgotten_whole(store: EncryptedContextStore) -> None:
    ref = store.take("the secret")
    again = store.take("the secret")
    folder = store.folder(ref)

    assert (ref, store.holds(ref), folder.exists()) == (again, True, True)
    store.forget(ref)
    store.forget(ref)
    assert (store.holds(ref), folder.exists(), list(store.root.iterdir())) == (False, False, [])
    with pytest.raises(InputError, match="give the context again"):
        store.load(ref)


def test_what_is_damaged_is_told(store: EncryptedContextStore) -> None:
    ref = store.take("the secret")
    store.forget_decrypted()
    [text] = store.root.rglob("text")
    text.write_bytes(text.read_bytes()[:-1])

    with pytest.raises(StorageError, match="cannot be decrypted"):
        store.folder(ref)


def test_files_that_were_swapped_are_told(store: EncryptedContextStore) -> None:
    refs = [store.take(text) for text in ("one secret", "two secret")]
    store.forget_decrypted()
    one, two = (store.root / store.cipher.name(ref.sha256) for ref in refs)
    beside = one.with_name("beside")
    one.rename(beside)
    two.rename(one)
    beside.rename(two)

    for ref in refs:
        with pytest.raises(StorageError, match="cannot be decrypted"):
            store.folder(ref)


def test_what_a_process_had_open_goes_with_it_or_with_the_next_one(tmp_path: Path) -> None:
    def start() -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    def end(process: subprocess.Popen[str]) -> None:
        process.communicate("x", timeout=60)

    first, lies = start()
    second, beside = start()
    assert (lies.is_dir(), beside.is_dir(), lies.parent.stat().st_mode & 0o077) == (True, True, 0)
    end(second)
    assert (lies.is_dir(), beside.exists()) == (True, False)
    first.kill()
    first.communicate(timeout=60)
    assert lies.is_dir()

    third, _ = start()

    assert not lies.exists()
    end(third)
