"""Cells that run again in another REPL, with the same answers, do what they did."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from rlm_graph.executors.base import Executor
from rlm_graph.executors.conformance.notebook import Host, Notebook, Notebooks

CHANCE = """
import random, os, uuid, secrets
print(random.random(), random.sample(range(100), 5), os.urandom(4), uuid.uuid4(), secrets.token_hex(4))
print({'alpha', 'beta', 'gamma', 'delta'}, hash('text'))
"""

DIFFERENCES = [
    ("print(1)", "print(2)"),
    ("1", "2"),
    ("import sys\nprint(1)", "import sys\nprint(1, file=sys.stderr)"),
    ("llm_query('a')\n0", "llm_query('b')\n0"),
    ("llm_query('a')\n0", "llm_query('a')\nllm_query('a')\n0"),
    ("1 / 0", "\n1 / 0"),
    ("FINAL(1)", "FINAL(2)"),
]


@pytest.mark.asyncio
class ReplayBehaviours(Notebooks):
    """Replay is faithful, and an execution's digest tells whether it was."""

    @pytest_asyncio.fixture
    async def other(self, executor: Executor) -> AsyncIterator[Notebook]:
        """A second REPL."""
        async with executor.attached(None) as repl:
            yield Notebook(repl)
        await executor.close(repl.handle)

    async def test_chance_repeats_itself(self, notebook: Notebook, other: Notebook) -> None:
        first = [await notebook.run(CHANCE), await notebook.run(CHANCE)]
        again = [await other.run(CHANCE), await other.run(CHANCE)]

        assert [execution.stdout for execution in again] == [execution.stdout for execution in first]
        assert [execution.digest for execution in again] == [execution.digest for execution in first]
        assert first[0].stdout.splitlines()[0] != first[1].stdout.splitlines()[0]

    async def test_the_clock_is_set_back_for_a_replay(self, notebook: Notebook) -> None:
        code = "import time\nprint(time.time(), time.time_ns() / 1e9)"
        past = await notebook.run(code, started_at=1_000_000_000.0)
        now = await notebook.run("print(time.time() > 1_700_000_000)")

        assert all(1_000_000_000 <= float(told) < 1_000_000_100 for told in past.stdout.split())
        assert past.started_at == 1_000_000_000.0
        assert now.stdout == "True\n"

    async def test_the_order_of_calls_from_threads_does_not_change_the_digest(
        self, notebook: Notebook, other: Notebook
    ) -> None:
        host = Host(lambda call: "same")
        await notebook.run("from concurrent.futures import ThreadPoolExecutor as Pool\nprompts = list('abcdefgh')")
        await other.run("from concurrent.futures import ThreadPoolExecutor as Pool\nprompts = list('hgfedcba')")

        ask = "with Pool(1) as pool:\n    print(*pool.map(llm_query, prompts))"
        one = await notebook.run(ask, serve=host)
        another = await other.run(ask, serve=host)

        assert one.calls == 8
        assert one.digest == another.digest

    @pytest.mark.parametrize(("one", "another"), DIFFERENCES)
    async def test_what_differs_has_another_digest(
        self, notebook: Notebook, other: Notebook, one: str, another: str
    ) -> None:
        host = Host(lambda call: "same")

        assert (await notebook.run(one, serve=host)).digest != (await other.run(another, serve=host)).digest
        assert (await notebook.run("5")).digest == (await other.run("5")).digest
