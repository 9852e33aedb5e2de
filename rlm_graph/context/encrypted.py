"""Contexts that lie on disk encrypted, and in the clear only in memory, for as long as a process works with them."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rlm_graph.context.draft import INDEX, TEXT, UNFINISHED, is_whole, remove
from rlm_graph.context.plans import Plan
from rlm_graph.context.store import ContextStore
from rlm_graph.errors import StorageError
from rlm_graph.fetching import Resolve, resolve
from rlm_graph.settings import ContextSettings, Settings
from rlm_graph.state import ContextRef
from rlm_graph.storage.data_folder import DataFolder
from rlm_graph.storage.encryption import Cipher

MEMORY = Path("/dev/shm")  # noqa: S108 - not for secret names: what is made there is ours alone
"""A file system that has no disk."""
LOCK = ".lock"


class EncryptedContextStore(ContextStore):
    """A context store whose files are encrypted.

    `<folder>/<name>/text` and `index.json` are those of `ContextStore`, each encrypted; the name is a keyed digest.
    What is taken in or asked for is decrypted into a folder in memory (in the temporary folder where there is no
    `/dev/shm`), which is this process's alone and goes with it; what a killed process has left, the next one removes.
    """

    def __init__(
        self, folder: Path, settings: ContextSettings | None = None, *, cipher: Cipher, resolve: Resolve = resolve
    ) -> None:
        super().__init__(folder, settings, resolve=resolve)
        self._cipher = cipher

    @property
    def cipher(self) -> Cipher:
        """What encrypts everything that lies beside the contexts."""
        return self._cipher

    @property
    def _clear(self) -> Path:
        return _own_folder(os.getpid())

    def folder(self, ref: ContextRef) -> Path:
        """Return where `ref` lies in the clear, decrypted now if it was not."""
        folder = super().folder(ref)
        if not is_whole(folder, ref.bytes) and self.holds(ref):
            with _storing(folder):
                self._decrypt(self._place(ref), folder)
        return folder

    def holds(self, ref: ContextRef) -> bool:
        """Tell whether the content of `ref` is here."""
        return (self._place(ref) / TEXT).is_file()

    def forget(self, ref: ContextRef) -> None:
        """Remove the content. Idempotent."""
        remove(super().folder(ref))
        remove(self._place(ref))

    def forget_decrypted(self) -> None:
        """Remove what this process has in the clear; it is decrypted again when it is asked for."""
        for folder in self._clear.iterdir():
            if folder.is_dir():
                remove(folder)

    def _take(self, given: Plan, *, only: str | None = None) -> ContextRef:
        ref = super()._take(given, only=only)
        if not self.holds(ref):
            with _storing(self.root):
                self._encrypt(super().folder(ref), self._place(ref))
        return ref

    def _place(self, ref: ContextRef) -> Path:
        return self.root / self.cipher.name(ref.sha256)

    def _encrypt(self, folder: Path, place: Path) -> None:
        """Make the encrypted form of a folder, which is there whole or not at all."""
        draft = place.with_name(f"{UNFINISHED}{secrets.token_hex(16)}")
        draft.mkdir(mode=0o700, parents=True)
        try:
            for name in (INDEX, TEXT):
                with (folder / name).open("rb") as source, (draft / name).open("xb") as target:
                    target.writelines(self.cipher.encrypt_blocks(source.read, label=_label(place, name)))
                    target.flush()
                    os.fsync(target.fileno())
            with contextlib.suppress(FileExistsError):  # another process was faster
                draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _decrypt(self, place: Path, folder: Path) -> None:
        draft = folder.with_name(f"{UNFINISHED}{secrets.token_hex(16)}")
        draft.mkdir(mode=0o700)
        try:
            for name in (INDEX, TEXT):
                with (place / name).open("rb") as source, (draft / name).open("xb") as target:
                    target.writelines(self.cipher.decrypt_blocks(source.read, label=_label(place, name)))
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def contexts_of(settings: Settings) -> ContextStore:
    """Return the store that the settings ask for. Raises `SetupError` if it is to be encrypted and there is no key."""
    if not settings.encrypt:
        return ContextStore(DataFolder(settings.data_dir).contexts(encrypted=False), settings.contexts)
    cipher = Cipher.from_environment()
    folder = DataFolder(settings.data_dir).contexts(encrypted=True)
    return EncryptedContextStore(folder, settings.contexts, cipher=cipher)


def _label(place: Path, name: str) -> bytes:
    return f"{place.name}/{name}".encode()


@functools.cache
def _own_folder(pid: int) -> Path:
    """Return the folder of what this process has decrypted."""
    base = (MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())) / f"rlm-graph-open-{os.getuid()}"
    with _storing(base):
        base.mkdir(mode=0o700, exist_ok=True)
        found = base.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise StorageError(f"{base} is not this user's alone; remove it, and try again")
        sweep(base)
        while True:
            folder = base / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)  # until this process ends, however it does
            if os.fstat(lock).st_nlink:
                break
            os.close(lock)  # another process took it for one that was left, in the moment before it was locked
    atexit.register(_end, pid, folder)
    return folder


def _end(pid: int, folder: Path) -> None:
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(base: Path) -> None:
    """Remove the folders of processes that have ended."""
    for folder in base.iterdir():
        try:
            lock = os.open(folder / LOCK, os.O_RDWR)
        except OSError:  # it is being made, or removed
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


@contextlib.contextmanager
def _storing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"the context cannot be stored in {place}: {error.strerror or error}"
        raise StorageError(f"{what}; free some space there, or set RLM_DATA_DIR to another folder") from error
