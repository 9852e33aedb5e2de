"""What the tests of the Pyodide executor share: REPLs, for starting one is what takes long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from rlm_graph.executors.conformance import Notebook
from rlm_graph.executors.pyodide import PyodideExecutor
from rlm_graph.settings import PyodideSettings
from rlm_graph.state import ReplHandle

SMALL = 160 << 20
AS_FRESH = """
def renew(names=globals(), sys=__import__("sys"), os=__import__("os"), shutil=__import__("shutil")):
    del names["renew"]
    first = sys.__dict__.setdefault("_first", dict(names))
    names.clear()
    names.update(first)
    names["answer"].update(content="", ready=False)
    for entry in os.scandir():
        shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.remove(entry)
renew()
"""


class Lent:
    """A REPL that is lent to one test after another."""

    def __init__(self, executor: PyodideExecutor) -> None:
        self.executor = executor
        self.handle: ReplHandle | None = None
        self.number = 0


@pytest.fixture
def executor(tmp_path: Path, pyodide_store: Path) -> PyodideExecutor:
    settings = PyodideSettings(store=pyodide_store, memory_bytes=SMALL, max_file_bytes=8 << 20)
    return PyodideExecutor(settings, folder=tmp_path / "r")


@pytest_asyncio.fixture
async def own(executor: PyodideExecutor) -> AsyncIterator[Notebook]:
    """A REPL of the test's own, closed in the end."""
    async with executor.attached(None) as repl:
        yield Notebook(repl)
    await executor.close(repl.handle)


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory, pyodide_store: Path) -> Iterator[Lent]:
    """The REPL that the tests of a module share."""
    lent = Lent(PyodideExecutor(PyodideSettings(store=pyodide_store), folder=tmp_path_factory.mktemp("r")))
    yield lent
    if lent.handle is not None:
        asyncio.run(lent.executor.close(lent.handle))


@pytest_asyncio.fixture
async def shared(lent: Lent) -> AsyncIterator[Notebook]:
    """A REPL that others have used, with the names that it had at first, and no file."""
    async with lent.executor.attached(lent.handle) as repl:
        lent.handle = repl.handle
        notebook = Notebook(repl)
        notebook.number = lent.number
        renewed = await notebook.run(AS_FRESH)
        assert renewed.status == "ok", renewed.error
        yield notebook
        lent.number = notebook.number
