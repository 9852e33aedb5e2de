"""The Pyodide executor: Python in WebAssembly, under Deno."""

from __future__ import annotations

import asyncio
import http.server
import os
import shutil
import tarfile
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors import create_executor
from rlm_graph.executors.conformance import ExecutorConformance, Host, Notebook, stored
from rlm_graph.executors.pyodide import PyodideExecutor, image, runtime
from rlm_graph.executors.worker.output import Output
from rlm_graph.executors.worker.program import Packets
from rlm_graph.settings import PyodideSettings

pytestmark = pytest.mark.pyodide

SMALL = 160 << 20


class TestPyodideExecutor(ExecutorConformance):
    @pytest.fixture
    def executor(self, tmp_path: Path, pyodide_store: Path) -> PyodideExecutor:
        return PyodideExecutor(PyodideSettings(store=pyodide_store), folder=tmp_path / "r")


@pytest.fixture
def executor(tmp_path: Path, pyodide_store: Path) -> PyodideExecutor:
    settings = PyodideSettings(store=pyodide_store, memory_bytes=SMALL, max_file_bytes=8 << 20)
    return PyodideExecutor(settings, folder=tmp_path / "r")


@pytest_asyncio.fixture
async def notebook(executor: PyodideExecutor) -> AsyncIterator[Notebook]:
    async with executor.attached(None) as repl:
        yield Notebook(repl)
    await executor.close(repl.handle)


def test_it_is_chosen_by_its_name() -> None:
    assert isinstance(create_executor("pyodide"), PyodideExecutor)
    assert isinstance(create_executor(PyodideSettings()), PyodideExecutor)


# --- Threads, in a Python that has one ------------------------------------------------------------------------------

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
async def test_what_code_does_with_threads_mostly_works(notebook: Notebook, script: str) -> None:
    code, _, expected = textwrap.dedent(script).strip().partition("\n=> ")

    assert await notebook.printed(code) == expected.replace("\n=> ", "\n") + "\n"


async def test_waiting_for_nobody_is_told_and_not_waited_out(notebook: Notebook) -> None:
    execution = await notebook.run("import threading\nthreading.Event().wait()")

    assert execution.error is not None
    assert "one thread" in execution.error.message


# --- Bounds ---------------------------------------------------------------------------------------------------------


async def test_beyond_its_memory_code_reads_an_error_and_goes_on(notebook: Notebook) -> None:
    execution = await notebook.run("held = []\nwhile True: held.append(bytearray(1 << 24))")
    after = await notebook.run("len(held) > 1")

    assert execution.error is not None
    assert execution.error.type == "MemoryError"
    assert after.value == "True"


async def test_files_are_bounded_and_what_is_removed_makes_room(notebook: Notebook) -> None:
    fill = "import os\nfor n in range(2):\n    open('big', 'wb').write(bytes(6 << 20)); os.remove('big')"
    filled = await notebook.run(fill)
    full = await notebook.run("for n in range(3): open(f'part{n}', 'wb').write(bytes(3 << 20))")
    stretched = await notebook.run("open('far', 'wb').truncate(1 << 40)")

    assert filled.error is None
    assert [execution.error and execution.error.type for execution in (full, stretched)] == ["OSError", "OSError"]


async def test_a_context_that_does_not_fit_is_refused_with_advice(notebook: Notebook, tmp_path: Path) -> None:
    long = stored(tmp_path / "long", "x" * (SMALL // 2 + 1))

    with pytest.raises(ExecutorError, match="local and docker"):
        await notebook.repl.give(1, long, folder=tmp_path / "long")
    short = stored(tmp_path / "short", "fits")
    await notebook.repl.give(1, short, folder=tmp_path / "short")
    assert (await notebook.run("context")).value == "'fits'"


async def test_two_hundred_megabytes_arrive_whole(tmp_path: Path, pyodide_store: Path) -> None:
    executor = PyodideExecutor(PyodideSettings(store=pyodide_store), folder=tmp_path / "r")
    context = stored(tmp_path / "context", "0123456789abcde\n" * 12_500_000)
    async with executor.attached(None) as repl:
        await repl.give(1, context, folder=tmp_path / "context")
        execution = await Notebook(repl).run("len(context), context[-6:], context.count('\\n')")
    await executor.close(repl.handle)

    assert execution.value == "(200000000, 'bcde\\n'[-6:], 12500000)".replace("'bcde\\n'[-6:]", "'abcde\\n'")


# --- Walls ----------------------------------------------------------------------------------------------------------


async def test_deno_is_confined_by_the_kernel_from_its_first_line(
    executor: PyodideExecutor, notebook: Notebook
) -> None:
    (program,) = [pid for pid in _processes() if _argument(pid, executor)]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{program}/status").read_text().splitlines() if ":\t" in line
    )

    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["CapEff"].strip("0") == ""
    assert os.getsid(program) != os.getsid(0)
    names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{program}/environ").read_bytes().split(b"\0") if entry}
    assert names == {b"DENO_DIR", b"DENO_NO_UPDATE_CHECK", b"NO_COLOR", b"LANG"}


async def test_no_name_leads_to_javascript(notebook: Notebook) -> None:
    code = """
        import sys
        for name in ("js", "pyodide_js", "pyodide", "pyodide.ffi", "pyodide.code", "_pyodide_core"):
            try: print(__import__(name))
            except ImportError: pass
        del name
        print([key for key, value in list(globals().items()) if "yodide" in repr(value)], sys.meta_path[3:])
    """

    assert await notebook.printed(textwrap.dedent(code)) == "[] []\n"


async def test_an_interrupt_ends_a_wait_in_javascript(notebook: Notebook) -> None:
    begun = asyncio.Event()

    def reply(call: object) -> str:
        begun.set()
        return "go on"

    running = asyncio.create_task(notebook.run("llm_query('x')\nimport time\ntime.sleep(1000)", serve=Host(reply)))
    await begun.wait()
    await asyncio.sleep(0.05)
    await notebook.repl.interrupt()
    execution = await running

    assert execution.error is not None
    assert execution.error.type == "KeyboardInterrupt"


def test_bytes_that_are_no_packet_are_told_as_errors() -> None:
    outputs = {"stdout": Output(1000), "stderr": Output(1000)}
    packets = Packets(outputs)
    stream = (
        b"\x01\x00\x00\x00\x05hello\x02\x00\x00\x00\x03err\x01\x00\x00\x00\x00\x01\x00\x00\x00\x01!fatal: no memory\n"
    )

    for byte in stream:
        packets.take(bytes([byte]))
    whole = {"stdout": Output(1000), "stderr": Output(1000)}
    Packets(whole).take(stream)

    assert outputs["stdout"].take()[0] == "hello!"
    assert outputs["stderr"].take()[0] == "errfatal: no memory\n"
    assert [whole[name].take()[0] for name in ("stdout", "stderr")] == ["hello!", "errfatal: no memory\n"]


# --- What it starts from --------------------------------------------------------------------------------------------


async def test_without_the_runtime_it_says_how_to_fetch_it(tmp_path: Path) -> None:
    executor = PyodideExecutor(PyodideSettings(store=tmp_path / "store"), folder=tmp_path / "r")

    with pytest.raises(SetupError, match="rlm-graph pyodide fetch"):
        async with executor.attached(None):
            pass
    assert list((tmp_path / "r").iterdir()) == []


def test_an_altered_runtime_is_refused_and_fetched_anew(tmp_path: Path, pyodide_store: Path) -> None:
    folder = runtime.fetch(tmp_path, str(pyodide_store / runtime.FOLDER))
    (folder / "pyodide.mjs").write_text("// altered")

    with pytest.raises(SetupError, match="its hash differs"):
        runtime.installed(tmp_path)
    assert runtime.fetch(tmp_path, str(pyodide_store / runtime.FOLDER)) == folder
    assert runtime.installed(tmp_path) == folder


def test_the_snapshot_is_made_once_and_again_if_it_was_altered(pyodide_store: Path) -> None:
    first = image.image(pyodide_store)
    snapshot = first.folder / image.SNAPSHOT
    made = snapshot.stat().st_ino

    assert image.image(pyodide_store) == first
    assert snapshot.stat().st_ino == made
    with snapshot.open("r+b") as file:
        file.write(b"altered")
    assert image.image(pyodide_store) == first
    assert not snapshot.read_bytes().startswith(b"altered")


def test_what_is_not_the_known_package_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "pyodide.tgz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(__file__, "package/pyodide.mjs")
    (tmp_path / "package").mkdir()
    for name in runtime.FILES:
        (tmp_path / "package" / name).write_text("other")

    for source in (package, tmp_path):
        with pytest.raises(SetupError, match="its hash differs"):
            runtime.fetch(tmp_path / "store", str(source))
    with pytest.raises(SetupError, match="cannot be read"):
        runtime.fetch(tmp_path / "store", str(tmp_path / "nothing.tgz"))
    assert not (tmp_path / "store").exists()


def test_an_address_is_fetched_and_checked(tmp_path: Path, served: str) -> None:
    with pytest.raises(SetupError, match="its hash differs"):
        runtime.fetch(tmp_path / "store", f"{served}/package.tgz")
    with pytest.raises(SetupError, match="404"):
        runtime.fetch(tmp_path / "store", f"{served}/nothing")


def test_without_npm_it_says_what_to_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SetupError, match="--from FILE"):
        runtime.fetch(tmp_path / "store")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server that has a file which is no package."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(__file__, folder / "package.tgz")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]  # as the server hands them

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _argument(pid: int, executor: PyodideExecutor) -> bool:
    """Whether it is a Deno whose current folder is that of one of the executor's REPLs."""
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
        return program.endswith(b"deno") and os.readlink(f"/proc/{pid}/cwd").startswith(str(executor._folder))
    except OSError:
        return False
