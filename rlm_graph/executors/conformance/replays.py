"""Cells that run again in another REPL, with the same answers, do what they did."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from rlm_graph.executors.base import Executor, RepeatsReadings
from rlm_graph.executors.conformance.notebook import Host, Notebook, Notebooks

CHANCE = """
import random, os, uuid, secrets
print(random.random(), random.sample(range(100), 5), os.urandom(4), uuid.uuid4(), secrets.token_hex(4))
print({'alpha', 'beta', 'gamma', 'delta'}, hash('text'))
"""

CLOCKS = """
import datetime, os, threading, time, uuid
from concurrent.futures import ThreadPoolExecutor, as_completed

def read(name):
    dates = [datetime.datetime.now(), datetime.datetime.now(datetime.timezone.utc), datetime.datetime.today()]
    parts = [time.localtime()[:], time.gmtime()[:], time.ctime(), time.asctime(), time.strftime('%X'), time.time()]
    counts = [time.time_ns(), time.monotonic(), time.monotonic_ns(), time.perf_counter(), time.process_time()]
    counts += [time.perf_counter_ns(), time.clock_gettime(time.CLOCK_REALTIME), datetime.date.today()]
    return f"{name} {dates} {parts} {counts} {uuid.uuid1()} {uuid.uuid4()} {os.urandom(3)}"

def ask(name):
    return llm_query(read(name))

begun = time.monotonic()
print(read('here'))
with ThreadPoolExecutor(3) as pool:
    said = [done.result() for done in as_completed([pool.submit(ask, n) for n in range(9)])]
thread = threading.Thread(target=lambda: said.append(ask('thread')))
thread.start()
thread.join()
while time.monotonic() - begun < 0.05:
    time.sleep(0.001)
print(*sorted(said), read('there'), sep='\\n')
"""
"""Shows all that it reads, in what it prints and in what it asks."""

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

    async def test_clocks_show_a_replay_what_they_showed(self, notebook: Notebook, other: Notebook) -> None:
        host, again = Host(lambda call: call.arguments["prompt"]), Host(lambda call: call.arguments["prompt"])
        first = await notebook.run(CLOCKS, serve=host)
        assert isinstance(other.repl, RepeatsReadings)

        other.repl.give_readings(first.readings)
        second = await other.run(CLOCKS, serve=again)

        assert (first.status, second.status) == ("ok", "ok")
        assert second.stdout == first.stdout
        assert second.readings == first.readings
        assert {call.arguments["prompt"] for call in again.calls} == {call.arguments["prompt"] for call in host.calls}

    async def test_clocks_go_on_from_where_the_record_ends(self, notebook: Notebook) -> None:
        assert isinstance(notebook.repl, RepeatsReadings)
        ahead = int(2e18)
        notebook.repl.give_readings({"0 time 0": [5, ahead], "0 monotonic 0": [7, ahead], "0.1 monotonic 0": [ahead]})
        code = "import time\nprint(*(time.time_ns() for _ in range(4)), *(time.monotonic_ns() for _ in range(3)))"
        told = list(map(int, (await notebook.printed(code)).split()))
        after = list(map(int, (await notebook.printed("print(time.time_ns(), time.monotonic_ns())")).split()))

        assert told[:2] == [5, ahead]
        assert ahead <= told[2] <= told[3] < ahead + 60e9
        assert told[4:6] == [7, ahead]
        assert ahead <= told[6] < after[1] < ahead + 60e9
        assert after[0] < ahead

    async def test_calls_tell_of_the_clocks_that_were_read_before_them(self, notebook: Notebook) -> None:
        host = Host(lambda call: "well")
        code = "import time\nat = time.time_ns()\nllm_query('a')\nllm_query('b')\nprint(time.time_ns(), at)"
        execution = await notebook.run(code, serve=host)

        later, at = map(int, execution.stdout.split())
        assert [call.readings for call in host.calls] == [{"0 time 0": [at]}, {}]
        assert execution.readings == {"0 time 0": [at, later]}

    async def test_not_every_reading_of_a_clock_is_kept(self, notebook: Notebook) -> None:
        code = "import time\nshown = [time.perf_counter_ns() for _ in range(3_000)]\nprint(sorted(shown) == shown)"
        execution = await notebook.run(code)

        assert execution.stdout == "True\n"
        assert [len(values) for values in execution.readings.values()] == [1_000]

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
