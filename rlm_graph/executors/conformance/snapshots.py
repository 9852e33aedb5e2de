"""What a REPL holds, brought into another without running its cells again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rlm_graph.executors.base import Executor, PastCell
from rlm_graph.executors.conformance.notebook import Host, Notebook, Notebooks, stored

MAX_BYTES = 1 << 20

BEFORE = """
import re, collections
from concurrent.futures import ThreadPoolExecutor
def make():
    n = 0
    def step():
        nonlocal n
        n += 1
        return n
    def steps(k):
        return step() if k == 0 else steps(k - 1)
    return step, steps
step, steps = make()
step(); steps(3)
shared = [1.5, None, b'raw', 2 ** 70]
both = {'one': shared, 'two': shared}
both['itself'] = both
first = lambda rest=shared: rest[0]
counted = collections.Counter('abracadabra')
found = re.search('b(e)', context[1])
hits, pieces = ctx.find('beta'), ctx.chunk(100)
text = context[0]
words = set('alpha over dog fox'.split())
ask, answer['content'] = llm_query, 'a draft'
said = llm_query('a')
del rlm_query
"""
AFTER = """
both['one'].append('more')
print(step(), steps(2), both, first(), counted, found.group(1), hits, pieces[1].offset, pieces[1] in context[0], words)
print(text is context[0], ask is llm_query, answer, said, llm_query('b'), re.sub('a', 'b', 'a'))
print(list(globals()), 'rlm_query' in globals())
steps('x')
"""
WITHOUT_COPY = {
    "a generator": "numbers = (n for n in range(3))",
    "an iterator": "numbers = iter([1, 2])",
    "a class": "class Box: pass",
    "a module with settings": "import decimal\ndecimal.getcontext().prec = 3",
    "a changed module": "import statistics\nstatistics.mean = len",
    "a written file": "open('note', 'w').write('x')",
    "a changed context": "context.append('x')",
    "a NaN": "odd = float('nan')",
    "a set built in another order": "words = {f'word {n}' for n in range(1000)}",
    "a value that holds code of a library": "import itertools\nnumbers = itertools.count()",
    "a task": "import asyncio\ntask = asyncio.ensure_future(asyncio.sleep(0))\nawait asyncio.sleep(0)",
}


@pytest.mark.asyncio
class SnapshotBehaviours(Notebooks):
    """A REPL that was brought back does what the first one does. Where that is not certain, there is no snapshot."""

    @pytest_asyncio.fixture
    async def fresh(self, executor: Executor) -> AsyncIterator[Notebook]:
        """A second REPL."""
        async with executor.attached(None) as repl:
            yield Notebook(repl)
        await executor.close(repl.handle)

    async def test_a_repl_from_a_snapshot_does_what_the_first_one_does(
        self, notebook: Notebook, fresh: Notebook, tmp_path: Path
    ) -> None:
        host = Host(lambda call: f"answer {call.arguments['prompt']}")
        ref = stored(tmp_path / "context", ["alpha " * 1000, "beta"])
        for each in (notebook, fresh):
            await each.repl.add_context(1, ref, folder=tmp_path / "context")
        before = await notebook.run(BEFORE, serve=host)

        snapshot = await notebook.repl.snapshot(MAX_BYTES)

        assert before.error is None
        assert snapshot is not None
        assert b"alpha alpha" not in snapshot
        assert await fresh.repl.restore(snapshot, [PastCell(1, "")])
        assert (fresh.repl.cells_done, list(fresh.repl.past)) == (1, [PastCell(1, "")])
        first = await notebook.run(AFTER, serve=host)
        second = await fresh.run(AFTER, serve=host, number=2)
        assert first.error is not None
        assert "steps(k - 1)" in first.error.traceback
        assert (second.stdout, second.error, second.digest) == (first.stdout, first.error, first.digest)

    async def test_the_past_of_a_restored_repl_is_found_again(self, executor: Executor, notebook: Notebook) -> None:
        await notebook.run("x = 41")
        snapshot = await notebook.repl.snapshot(MAX_BYTES)
        assert snapshot is not None

        async with executor.attached(None) as repl:
            await repl.restore(snapshot, [PastCell(3, "a branch")])
        async with executor.attached(repl.handle) as again:
            past, found = list(again.past), await Notebook(again).run("x + 1", number=4)
            assert await again.snapshot(MAX_BYTES) is not None
        await executor.close(repl.handle)

        assert past == [PastCell(3, "a branch")]
        assert found.value == "42"

    @pytest.mark.parametrize("code", WITHOUT_COPY.values(), ids=WITHOUT_COPY.keys())
    async def test_what_a_copy_would_not_replace_leaves_no_snapshot(
        self, notebook: Notebook, tmp_path: Path, code: str
    ) -> None:
        ref = stored(tmp_path / "context", ["one", "two"])
        await notebook.repl.add_context(1, ref, folder=tmp_path / "context")
        await notebook.run("x = 1")
        assert await notebook.repl.snapshot(MAX_BYTES) is not None

        await notebook.run(code)

        assert await notebook.repl.snapshot(MAX_BYTES) is None
        assert (await notebook.run("x")).value == "1"

    async def test_a_snapshot_has_a_ceiling(self, notebook: Notebook) -> None:
        await notebook.run("x = b'x' * 2_000_000")

        assert await notebook.repl.snapshot(MAX_BYTES) is None
        assert await notebook.repl.snapshot(4 * MAX_BYTES) is not None

    async def test_bytes_that_are_no_snapshot_and_other_contexts_are_refused(
        self, notebook: Notebook, fresh: Notebook, tmp_path: Path
    ) -> None:
        ref = stored(tmp_path / "context", "text")
        await notebook.repl.add_context(1, ref, folder=tmp_path / "context")
        await notebook.run("x = context")
        snapshot = await notebook.repl.snapshot(MAX_BYTES)
        assert snapshot is not None

        for useless in (b"", b"nonsense", snapshot, snapshot[:-10]):
            assert not await fresh.repl.restore(useless, [PastCell(1, "")])

        assert (fresh.repl.cells_done, list(fresh.repl.past)) == (0, [])
        assert (await fresh.run("'x' in globals()", number=1)).value == "False"
