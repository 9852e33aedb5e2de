"""Where the command keeps memory: LangGraph's own store, in a file of the data folder or in the database of runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_graph.memory.notes import Notes
from rlm_graph.settings import MemorySettings, Settings
from rlm_graph.settings.sources import without_password
from rlm_graph.storage.data_folder import DataFolder
from rlm_graph.storage.encryption import Cipher
from rlm_graph.storage.opening import open_store

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore


def store_place(settings: Settings) -> str:
    """Return what messages call the place where memory lies."""
    place = _place(settings)
    return without_password(place) if isinstance(place, str) else str(place)


def opened_store(settings: Settings) -> AbstractAsyncContextManager[BaseStore]:
    """Open the store, made if there is none, for as long as the block lasts.

    The file is the user's alone. Raises `StorageError` if it cannot be used, `SetupError` if a driver is missing.
    """
    return open_store(_place(settings))


@asynccontextmanager
async def opened_memory(settings: Settings) -> AsyncIterator[tuple[BaseStore, Callable[[MemorySettings], Notes]]]:
    """Open the store as `opened_store` does; give it with what returns the notes of one user in one project.

    Raises `SetupError` too if what runs say is to be encrypted and there is no key.
    """
    cipher = Cipher.from_environment() if settings.encrypt else None
    async with opened_store(settings) as store:
        yield store, lambda owner: Notes(store, owner, cipher)


def _place(settings: Settings) -> Path | str:
    return settings.db if isinstance(settings.db, str) else DataFolder(settings.data_dir).memory
