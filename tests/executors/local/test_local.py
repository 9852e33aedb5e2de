"""What concerns one machine: processes that are killed, files that are left, rights that are gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors import create_executor
from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.conformance import Host, Notebook, stored
from rlm_graph.executors.conformance.notebook import until
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import LocalSettings
from rlm_graph.state import ReplHandle

ROOT = Path(__file__).resolve().parents[3]
NAME = "feedbeefcafe0001"

HOST = """
import asyncio, sys
from pathlib import Path
from rlm_graph.executors.base import CallResult
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.state import Cell

async def serve(call):
    print("asked", call.arguments["prompt"], flush=True)
    if call.arguments["prompt"] == "b":
        await asyncio.Event().wait()
    return CallResult(value="from the first host")

async def main():
    folder, name, code = sys.argv[1:]
    async with LocalExecutor(folder=Path(folder)).attached(None, name=name) as repl:
        await repl.run(Cell(code="before = 'kept'"), number=1, serve=serve, timeout_s=30)
        print("ready", repl.handle.address, flush=True)
        if code:
            await repl.run(Cell(code=code), number=2, serve=serve, timeout_s=30)

asyncio.run(main())
"""


@pytest.fixture
def executor(tmp_path: Path) -> LocalExecutor:
    return LocalExecutor(folder=tmp_path / "repls")


@pytest.fixture
async def notebook(executor: LocalExecutor) -> AsyncIterator[Notebook]:
    async with executor.attached(None) as repl:
        yield Notebook(repl)
    await executor.close(repl.handle)


async def test_folders_deeper_than_python_recurses_are_gone_with_the_repl(executor: LocalExecutor) -> None:
    async with executor.attached(None) as repl:
        made = await Notebook(repl).run("import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')")
    await executor.close(repl.handle)

    assert made.error is None
    assert not Path(repl.handle.address).exists()


def host_process(folder: Path, code: str) -> subprocess.Popen[str]:
    """Start another host, which attaches to the REPL called NAME."""
    command = [sys.executable, "-c", HOST, str(folder), NAME, code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def is_alive(pid: int) -> bool:
    """Whether the process runs: a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def of_session(session: int) -> list[int]:
    """The processes of a session, even those that have ended and that nobody has waited for."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.append(int(entry.name))
    return found


async def pids(notebook: Notebook) -> tuple[int, int]:
    """The process ids of the worker and of its supervisor."""
    shown = (await notebook.run("import os\n(os.getpid(), os.getppid())")).value
    worker, supervisor = json.loads(str(shown).replace("(", "[").replace(")", "]"))
    return worker, supervisor


class TestDeaths:
    async def test_a_host_that_is_killed_in_a_cell_is_replaced_by_another(
        self, executor: LocalExecutor, tmp_path: Path
    ) -> None:
        code = "import time\nreplies = [llm_query('a'), llm_query('b'), llm_query('c')]\nprint(before, replies)"
        with host_process(tmp_path / "repls", code) as first:
            assert first.stdout is not None
            lines = [first.stdout.readline() for _ in range(3)]
            first.kill()
        second = Host(lambda call: f"{call.arguments['prompt']} from the second")

        async with executor.attached(None, name=NAME) as repl:
            assert repl.cells_done == 1
            joined = await Notebook(repl).run(code, serve=second)
        await executor.close(repl.handle)

        assert lines[1:] == ["asked a\n", "asked b\n"]
        assert joined.stdout == "kept ['from the first host', 'b from the second', 'c from the second']\n"

    async def test_a_host_that_is_gone_leaves_no_pipe_open_and_no_zombie(
        self, executor: LocalExecutor, tmp_path: Path
    ) -> None:
        with host_process(tmp_path / "repls", "") as first:
            output, _ = first.communicate(timeout=60)

        async with executor.attached(None, name=NAME) as repl:
            _, supervisor = await pids(Notebook(repl))
            parent = Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1]
        await executor.close(repl.handle)

        assert output.startswith("ready ")
        assert int(parent) not in (first.pid, os.getpid())

    async def test_a_worker_that_is_killed_ends_the_cell_and_another_takes_its_place(self, notebook: Notebook) -> None:
        worker, supervisor = await pids(notebook)
        asked: list[HostCall] = []

        async def never(call: HostCall) -> CallResult:
            asked.append(call)
            await asyncio.Event().wait()
            return CallResult()

        running = asyncio.create_task(notebook.run("print('begun', flush=True)\nllm_query('p')", serve=never))
        await until(lambda: bool(asked))
        os.kill(worker, signal.SIGKILL)
        execution = await running

        assert execution.status == "killed"
        assert execution.stdout == "begun\n"
        assert notebook.repl.cells_done == 0
        assert (await pids(notebook))[1] == supervisor

    async def test_a_worker_that_is_killed_between_cells_is_noticed(self, notebook: Notebook) -> None:
        worker, _ = await pids(notebook)
        os.kill(worker, signal.SIGKILL)
        # Its first thread may be dead while another one still holds the channel open.
        await until(lambda: not Path(f"/proc/{worker}").exists())

        after = await notebook.run("'os' in globals()")

        assert after.value == "False"

    async def test_a_supervisor_that_is_killed_takes_its_worker_along_and_is_replaced(
        self, executor: LocalExecutor
    ) -> None:
        asked: list[HostCall] = []

        async def never(call: HostCall) -> CallResult:
            asked.append(call)
            await asyncio.Event().wait()
            return CallResult()

        async with executor.attached(None) as repl:
            worker, supervisor = await pids(Notebook(repl))
            running = asyncio.create_task(Notebook(repl).run("llm_query('p')", serve=never))
            await until(lambda: bool(asked))
            os.kill(supervisor, signal.SIGKILL)
            with pytest.raises(ExecutorError, match="gone"):
                await running
        await until(lambda: not is_alive(worker))
        async with executor.attached(repl.handle) as fresh:
            assert fresh.cells_done == 0
            assert (await Notebook(fresh).run("1 + 1")).value == "2"
        await executor.close(fresh.handle)

        assert not Path(repl.handle.address).exists()

    async def test_a_worker_that_is_deep_in_c_code_ends_with_its_supervisor(self, executor: LocalExecutor) -> None:
        async with executor.attached(None) as repl:
            worker, supervisor = await pids(Notebook(repl))
            running = asyncio.create_task(Notebook(repl).run("open('begun', 'w').close()\nsum(range(10 ** 13))"))
            await until((Path(repl.handle.address) / "scratch" / "begun").exists)
            os.kill(supervisor, signal.SIGKILL)
            with pytest.raises(ExecutorError, match="gone"):
                await running
        await until(lambda: not is_alive(worker))
        await executor.close(repl.handle)

    async def test_a_supervisor_that_is_gone_between_cells_is_an_error_and_no_hang(
        self, executor: LocalExecutor
    ) -> None:
        async with executor.attached(None) as repl:
            _, supervisor = await pids(Notebook(repl))
            os.kill(supervisor, signal.SIGKILL)
            with pytest.raises(ExecutorError):
                await Notebook(repl).run("1")
            with pytest.raises(ExecutorError):
                await repl.variables()
        await executor.close(repl.handle)

        assert not Path(repl.handle.address).exists()

    async def test_a_supervisor_that_is_stuck_is_ended_by_force(self, executor: LocalExecutor) -> None:
        async with executor.attached(None) as repl:
            worker, supervisor = await pids(Notebook(repl))
        os.kill(worker, signal.SIGSTOP)
        await executor.close(repl.handle)

        assert not is_alive(worker)
        assert not is_alive(supervisor)

    async def test_without_a_host_a_repl_ends_itself(self, tmp_path: Path) -> None:
        executor = LocalExecutor(LocalSettings(idle_timeout_s=0.2), folder=tmp_path)
        async with executor.attached(None) as repl:
            _, supervisor = await pids(Notebook(repl))
            await asyncio.sleep(0.4)  # longer than it waits for a host, and there is one
            assert is_alive(supervisor)

        await until(lambda: not is_alive(supervisor))
        assert list(tmp_path.iterdir()) == []


class TestTraces:
    async def test_nothing_is_left_after_closing(self, executor: LocalExecutor, tmp_path: Path) -> None:
        async with executor.attached(None) as repl:
            notebook = Notebook(repl)
            worker, supervisor = await pids(notebook)
            await notebook.run("open('left.txt', 'w').write('x')\nimport threading, time")
            await notebook.run("threading.Thread(target=time.sleep, args=(100,)).start()")
            assert sorted(of_session(supervisor)) == sorted({worker, supervisor})
        await executor.close(repl.handle)

        # Its entry goes when the first process of the machine takes notice.
        await until(lambda: of_session(supervisor) == [])
        assert list((tmp_path / "repls").iterdir()) == []

    async def test_only_this_user_can_enter_the_folder(self, notebook: Notebook) -> None:
        folder = Path(notebook.repl.handle.address)

        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "control.sock").stat().st_mode & 0o077 == 0

    async def test_what_an_unconfined_cell_started_ends_with_its_repl(self, tmp_path: Path) -> None:
        executor = LocalExecutor(LocalSettings(unsafe=True), folder=tmp_path)
        async with executor.attached(None) as repl:
            code = "import subprocess\np = subprocess.Popen(['sleep', '1000'], start_new_session=True)\nprint(p.pid)"
            left = int((await Notebook(repl).run(code)).stdout)
            assert is_alive(left)
        await executor.close(repl.handle)

        assert not is_alive(left)

    async def test_a_fork_bomb_ends_with_its_cell(self, tmp_path: Path) -> None:
        executor = LocalExecutor(LocalSettings(unsafe=True), folder=tmp_path)
        async with executor.attached(None) as repl:
            notebook = Notebook(repl)
            _, supervisor = await pids(notebook)
            bomb = (
                "import os, time\nfor _ in range(5): os.fork()\nos.setsid() if os.getpgid(0) != os.getpid() else None"
            )
            execution = await notebook.run(f"{bomb}\ntime.sleep(1000)", timeout_s=0.3)
            assert execution.error is not None
            await notebook.run("import os\nos._exit(0)")
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
            await until(lambda: len(children.read_text().split()) == 1)
            assert (await notebook.run("1 + 1", number=1)).value == "2"
        await executor.close(repl.handle)

    async def test_a_forked_process_does_not_speak_for_the_repl(self, tmp_path: Path) -> None:
        executor = LocalExecutor(LocalSettings(unsafe=True), folder=tmp_path)
        host = Host(lambda call: "answered")
        async with executor.attached(None) as repl:
            code = "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nllm_query('p')"
            execution = await Notebook(repl).run(code, serve=host)
        await executor.close(repl.handle)

        assert execution.value == "'answered'"
        assert len(host.calls) == 1


class TestRights:
    @pytest.mark.parametrize(
        "code",
        [
            "open('/etc/passwd')",
            "open('../control.sock')",
            "open('../x', 'w')",
            "import socket\nsocket.socket()",
            "import subprocess\nsubprocess.run(['true'])",
            "import os\nos.kill(os.getppid(), 9)",
            "import os\nos.listdir('/proc/' + str(os.getppid()))",
            "import os\nos.fork()",
            "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        ],
    )
    async def test_what_is_outside_is_out_of_reach(self, notebook: Notebook, code: str) -> None:
        execution = await notebook.run(code)

        assert execution.error is not None
        assert execution.error.type in ("PermissionError", "ValueError", "BlockingIOError")

    async def test_the_environment_of_the_host_is_not_there(
        self, executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOME_API_KEY", "secret")
        async with executor.attached(None) as repl:
            notebook = Notebook(repl)
            shown = await notebook.run("import os\nsorted(os.environ)")
            _, supervisor = await pids(notebook)
            with contextlib.suppress(PermissionError):  # nobody but root may look
                assert Path(f"/proc/{supervisor}/environ").read_bytes() == b"PYTHONHASHSEED=0\0"
        await executor.close(repl.handle)

        assert shown.value == "['HOME', 'LANG', 'PATH', 'PYTHONHASHSEED', 'TMPDIR']"

    async def test_no_descriptor_of_the_host_is_there(self, notebook: Notebook) -> None:
        probe = "import os\ndef is_open(fd):\n    try: return bool(os.fstat(fd))\n    except OSError: return False"

        shown = await notebook.run(f"{probe}\n[fd for fd in range(1000) if is_open(fd)]")

        # Input, output, errors, the supervisor, and what output and errors are restored from.
        assert shown.value == "[0, 1, 2, 3, 4, 5]"

    async def test_the_scratch_folder_is_the_current_one_and_modules_load_from_it(self, notebook: Notebook) -> None:
        code = """
import os, tempfile
with open('mine.py', 'w') as file:
    file.write('x = 5')
import mine
mine.x, tempfile.gettempdir() == os.getcwd()
"""
        assert (await notebook.run(code)).value == "(5, True)"

    async def test_the_standard_library_works(self, notebook: Notebook) -> None:
        code = """
import asyncio, collections, csv, datetime, decimal, hashlib, json, re, sqlite3, statistics, tempfile, zlib, zoneinfo
database = sqlite3.connect('scratch.db')
with tempfile.TemporaryFile() as file:
    file.write(zlib.compress(b'text'))
row = database.execute('select 1').fetchone()
(row, hashlib.sha256(b'').hexdigest()[:4], datetime.datetime.now(datetime.timezone.utc).year > 2000)
"""
        assert (await notebook.run(code)).value == "((1,), 'e3b0', True)"

    async def test_packages_beside_the_interpreter_can_be_imported_and_the_project_cannot(
        self, notebook: Notebook
    ) -> None:
        assert (await notebook.run("import markdown_it\nmarkdown_it.__name__")).value == "'markdown_it'"

        error = (await notebook.run("import rlm_graph.state")).error
        assert error is not None
        assert error.type == "ModuleNotFoundError"

    async def test_a_shell_needs_rights_that_are_gone(self, notebook: Notebook) -> None:
        error = (await notebook.run("echo hello", language="bash")).error

        assert error is not None
        assert "write Python" in error.message

    async def test_unconfined_code_has_the_rights_of_the_user(self, tmp_path: Path) -> None:
        executor = LocalExecutor(LocalSettings(unsafe=True), folder=tmp_path)
        async with executor.attached(None) as repl:
            notebook = Notebook(repl)
            opened = await notebook.run("open('/etc/passwd').read(0)")
            shell = await notebook.run("echo $((40 + 2)); exit 3", language="bash")
        await executor.close(repl.handle)

        assert opened.value == "''"
        assert shell.stdout == "42\n"
        assert shell.error is not None
        assert "exit status 3" in shell.error.message

    async def test_where_the_kernel_cannot_confine_it_refuses_and_says_how_to_go_on(self, tmp_path: Path) -> None:
        # Under another machine's name the kernel has system calls that the filter does not know.
        script = """
import asyncio, ctypes, sys
from pathlib import Path
ctypes.CDLL(None).personality(8)
from rlm_graph.errors import SetupError
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.settings import LocalSettings
async def attach(unsafe):
    executor = LocalExecutor(LocalSettings(unsafe=unsafe), folder=Path(sys.argv[1]))
    async with executor.attached(None) as repl:
        pass
    await executor.close(repl.handle)
try:
    asyncio.run(attach(False))
except SetupError as error:
    print(error)
asyncio.run(attach(True))
print("unsafe works")
"""
        command = [sys.executable, "-c", script, str(tmp_path)]
        told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True).stdout

        assert "cannot confine" in told
        assert "i686" in told
        assert "unsafe=True" in told
        assert told.endswith("unsafe works\n")
        assert list(tmp_path.iterdir()) == []


class TestLimits:
    async def test_what_no_frame_can_carry_is_an_error_in_the_code(self, notebook: Notebook) -> None:
        for code, word in (("llm_query([0] * 600_000)", "values"), ("FINAL('x' * (153 << 20))", "bytes")):
            error = (await notebook.run(code)).error
            assert error is not None
            assert error.type == "ValueError"
            assert word in error.message

        assert (await notebook.run("1 + 1")).value == "2"

    async def test_an_answer_that_no_frame_can_carry_is_an_error_in_the_code(self, notebook: Notebook) -> None:
        error = (await notebook.run("llm_query('p')", serve=Host(lambda call: "x" * (153 << 20)))).error

        assert error is not None
        assert error.type == "ValueError"

    async def test_memory_is_bounded_and_a_context_comes_on_top(self, tmp_path: Path) -> None:
        executor = LocalExecutor(LocalSettings(memory_bytes=256 << 20), folder=tmp_path / "repls")
        reference = stored(tmp_path / "context", "0123456789abcdef" * (20 << 20))
        async with executor.attached(None) as repl:
            notebook = Notebook(repl)
            before = await notebook.run("bytearray(320 << 20)")
            await repl.add_context(1, reference, folder=tmp_path / "context")
            after = await notebook.run("len(context)")
            bomb = await notebook.run("copies = []\nwhile True: copies.append(context + 'x')")
            alive = await notebook.run("del copies\nlen(context)")
        await executor.close(repl.handle)

        assert before.error is not None
        assert before.error.type == "MemoryError"
        assert after.value == str(320 << 20)
        assert bomb.error is not None
        assert bomb.error.type == "MemoryError"
        assert alive.value == str(320 << 20)

    async def test_output_is_kept_within_its_limit(self, tmp_path: Path) -> None:
        executor = LocalExecutor(LocalSettings(max_output_bytes=1000), folder=tmp_path)
        async with executor.attached(None) as repl:
            execution = await Notebook(repl).run("print('漢' * 10_000)")
        await executor.close(repl.handle)

        assert execution.stdout_chars == 10_001
        assert 900 < len(execution.stdout.encode()) < 1100

    async def test_files_have_a_largest_size(self, tmp_path: Path) -> None:
        executor = LocalExecutor(LocalSettings(max_file_bytes=1000), folder=tmp_path)
        async with executor.attached(None) as repl:
            execution = await Notebook(repl).run("with open('big', 'w') as file: file.write('x' * 2000)")
        await executor.close(repl.handle)

        assert execution.error is not None
        assert execution.error.type == "OSError"


class TestHandles:
    async def test_a_handle_of_another_version_is_replaced(self, executor: LocalExecutor) -> None:
        async with executor.attached(None) as repl:
            _, supervisor = await pids(Notebook(repl))
        old = repl.handle.model_copy(update={"worker_version": "0" * 16})

        async with executor.attached(old) as fresh:
            assert fresh.handle != repl.handle
        await executor.close(fresh.handle)

        assert not is_alive(supervisor)

    async def test_a_forged_handle_harms_nothing(self, executor: LocalExecutor, tmp_path: Path) -> None:
        precious = tmp_path / "precious"
        precious.mkdir(mode=0o700)
        (precious / "file").touch()

        for forged in ("precious", NAME):
            handle = ReplHandle(kind="local", id=forged, address=str(precious), worker_version="x")
            await executor.close(handle)
            async with executor.attached(handle) as fresh:
                assert fresh.handle.address != str(precious)
            await executor.close(fresh.handle)

        assert (precious / "file").exists()

    async def test_a_name_that_is_none_is_refused(self, executor: LocalExecutor) -> None:
        with pytest.raises(ValueError, match="16 hex digits"):
            async with executor.attached(None, name="../escape"):
                pass

    async def test_a_folder_may_lie_deep(self, tmp_path: Path) -> None:
        executor = LocalExecutor(folder=tmp_path / ("d" * 100) / ("e" * 100))
        async with executor.attached(None) as repl:
            assert (await Notebook(repl).run("1 + 1")).value == "2"
        await executor.close(repl.handle)

    async def test_a_shared_folder_for_temporary_files_must_be_ones_own(self, tmp_path: Path) -> None:
        base = tmp_path / f"rlm-graph-{os.getuid()}"
        script = """
import asyncio
from rlm_graph.errors import SetupError
from rlm_graph.executors.local import LocalExecutor
async def main():
    async with LocalExecutor().attached(None) as repl:
        print(repl.handle.address)
    await LocalExecutor().close(repl.handle)
try:
    asyncio.run(main())
except SetupError as error:
    print("refused:", error)
"""

        def told() -> str:
            environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-c", script]
            return subprocess.run(
                command, capture_output=True, text=True, env=environment, timeout=60, check=True
            ).stdout

        assert told().startswith(str(base))
        base.chmod(0o777)
        assert told().startswith("refused: ")


class TestChoice:
    def test_an_executor_is_chosen_by_name_or_settings(self) -> None:
        assert isinstance(create_executor("local"), LocalExecutor)
        assert create_executor(LocalSettings(cell_timeout_s=7)).cell_timeout_s == 7

    def test_an_executor_is_taken_as_it_is(self, executor: LocalExecutor) -> None:
        assert create_executor(executor) is executor

    def test_an_unknown_name_is_told_with_those_there_are(self) -> None:
        with pytest.raises(SetupError, match=r"'lokal'.*local"):
            create_executor("lokal")
