"""Threads and event loops, in a Python that has one thread."""

from __future__ import annotations

import textwrap

import pytest

from rlm_graph.executors.conformance import Notebook

pytestmark = pytest.mark.pyodide


WITH_THREADS = {
    "a pool keeps the order": """
        from concurrent.futures import ThreadPoolExecutor, as_completed
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(pow, n, 2) for n in range(4)]
            print(list(pool.map(str, range(3))), sorted(f.result() for f in as_completed(futures)), futures[0].done())
        => ['0', '1', '2'] [0, 1, 4, 9] True
    """,
    "an exception stays in its future": """
        from concurrent.futures import ThreadPoolExecutor
        future = ThreadPoolExecutor().submit(lambda: 1 / 0)
        print(type(future.exception()).__name__)
        => ZeroDivisionError
    """,
    "a thread runs when it is waited for, and knows itself": """
        import threading
        done = []
        thread = threading.Thread(target=lambda: done.append(threading.current_thread().name), name='mine')
        thread.start()
        alive = thread.is_alive()
        thread.join()
        print(alive, done, thread.is_alive(), threading.current_thread() is threading.main_thread())
        => True ['mine'] False True
    """,
    "workers empty a queue": """
        import queue, threading
        jobs, results = queue.Queue(), queue.Queue()
        def work():
            while (job := jobs.get()) is not None:
                results.put(job * 2)
                jobs.task_done()
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads: thread.start()
        for n in range(5): jobs.put(n)
        for _ in threads: jobs.put(None)
        for thread in threads: thread.join()
        print(sorted(results.get() for _ in range(5)))
        => [0, 2, 4, 6, 8]
    """,
    "an event is set by a thread that has not begun": """
        import threading
        event = threading.Event()
        threading.Timer(0.01, event.set).start()
        print(event.wait(5), threading.Event().wait(0.01))
        => True False
    """,
    "what fails in a thread is told and harms nobody": """
        import threading
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start(); thread.join()
        print('went on')
        => went on
    """,
    "asyncio has timers, threads and deadlines": """
        import asyncio
        async def late(n):
            await asyncio.sleep(n / 100)
            return n
        async def main():
            try:
                async with asyncio.timeout(0.01): await asyncio.sleep(60)
            except TimeoutError: print('in time')
            return await asyncio.gather(late(2), late(1), asyncio.to_thread(pow, 2, 3))
        print(asyncio.run(main()))
        => in time
        => [2, 1, 8]
    """,
    "processes can be asked for and are refused": """
        import multiprocessing, subprocess
        try: subprocess.run(['true'])
        except OSError as error: print('refused')
        => refused
    """,
}


@pytest.mark.parametrize("script", WITH_THREADS.values(), ids=WITH_THREADS)
async def test_what_code_does_with_threads_mostly_works(shared: Notebook, script: str) -> None:
    code, _, expected = textwrap.dedent(script).strip().partition("\n=> ")

    assert await shared.printed(code) == expected.replace("\n=> ", "\n") + "\n"


async def test_waiting_for_nobody_is_told_and_not_waited_out(shared: Notebook) -> None:
    execution = await shared.run("import threading\nthreading.Event().wait()")

    assert execution.error is not None
    assert "one thread" in execution.error.message
