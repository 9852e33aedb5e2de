"""What code may have of memory, files and context."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.conformance import Notebook, stored
from tests.executors.pyodide.conftest import SMALL

pytestmark = pytest.mark.pyodide


async def test_beyond_its_memory_code_reads_an_error_and_goes_on(own: Notebook) -> None:
    execution = await own.run("held = []\nwhile True: held.append(bytearray(1 << 24))")
    after = await own.run("len(held) > 1")

    assert execution.error is not None
    assert execution.error.type == "MemoryError"
    assert after.value == "True"


async def test_files_are_bounded_and_what_is_removed_makes_room(own: Notebook) -> None:
    fill = "import os\nfor n in range(2):\n    open('big', 'wb').write(bytes(6 << 20)); os.remove('big')"
    filled = await own.run(fill)
    full = await own.run("for n in range(3): open(f'part{n}', 'wb').write(bytes(3 << 20))")
    stretched = await own.run("open('far', 'wb').truncate(1 << 40)")

    assert filled.error is None
    assert [execution.error and execution.error.type for execution in (full, stretched)] == ["OSError", "OSError"]


async def test_a_context_that_does_not_fit_is_refused_with_advice(own: Notebook, tmp_path: Path) -> None:
    long = stored(tmp_path / "long", "x" * (SMALL // 2 + 1))

    with pytest.raises(ExecutorError, match="local and docker"):
        await own.repl.add_context(1, long, folder=tmp_path / "long")
    short = stored(tmp_path / "short", "fits")
    await own.repl.add_context(1, short, folder=tmp_path / "short")
    assert (await own.run("context")).value == "'fits'"
