"""What a container may do, and who may do what in it. One container serves all that only look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from rlm_graph.errors import SetupError
from rlm_graph.executors.conformance import Notebook
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.executors.docker.container import worker_user
from rlm_graph.state import ReplHandle
from tests.executors.docker.conftest import notebook, settings

pytestmark = pytest.mark.docker


MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def handle(docker_image: str) -> Iterator[ReplHandle]:
    """A REPL that has run a cell."""
    executor = DockerExecutor(settings(docker_image))

    async def start() -> ReplHandle:
        async with executor.attached(None) as repl:
            await Notebook(repl).run("x = 1")
        return repl.handle

    handle = asyncio.run(start())
    yield handle
    asyncio.run(executor.close(handle))


def said(client: docker.APIClient, handle: ReplHandle, user: int, code: str) -> str:
    """What a program says that some user runs in the container, with no confinement but the container's."""
    made = client.exec_create(handle.address, ["python3", "-S", "-c", code], user=f"{user}:{user}")
    return str(client.exec_start(made["Id"]).decode())


def test_a_container_has_nothing_that_it_does_not_need(client: docker.APIClient, handle: ReplHandle) -> None:
    found = client.inspect_container(handle.address)
    limits, config = found["HostConfig"], found["Config"]

    assert limits["NetworkMode"] == "none"
    assert limits["CapDrop"] == ["ALL"]
    assert sorted(cap.removeprefix("CAP_") for cap in limits["CapAdd"]) == ["KILL", "SETGID", "SETUID"]
    assert limits["SecurityOpt"] == ["no-new-privileges:true"]
    assert limits["ReadonlyRootfs"]
    assert not limits["Privileged"]
    assert limits["Binds"] in (None, [])
    assert (limits["PidsLimit"], limits["NanoCpus"]) == (128, 1_000_000_000)
    assert limits["Memory"] == limits["MemorySwap"] == 4 << 30
    assert all({"noexec", "nosuid", "nodev"} <= set(options.split(",")) for options in limits["Tmpfs"].values())
    assert limits["AutoRemove"]
    labels = config["Labels"]
    assert (labels["rlm-graph"], labels["rlm-graph.repl"]) == ("1", handle.id)
    assert {"rlm-graph.host", "rlm-graph.created", "rlm-graph.version"} <= labels.keys()
    assert not any("KEY" in variable for variable in config["Env"])


def test_the_worker_has_a_user_of_its_own_and_no_right(client: docker.APIClient, handle: ReplHandle) -> None:
    status = "print(*[open(f'/proc/{p}/status').read() for p in __import__('os').listdir('/proc') if p.isdigit()])"
    texts = said(client, handle, 0, status).split("Name:")[1:]
    processes = [dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in texts]
    (worker,) = [p for p in processes if p["Uid"].split()[0] == str(worker_user(handle.id))]

    assert {p["Uid"].split()[0] for p in processes} == {"0", str(worker_user(handle.id))}
    assert [int(worker[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0] * 4
    assert worker["NoNewPrivs"] == "1"
    assert int(worker["Seccomp"]) == 2
    assert set(worker["Groups"].split()) <= {str(worker_user(handle.id))}


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param("s = socket.socket(socket.AF_UNIX); s.connect('/run/rlm-graph/control.sock')", id="connect"),
        pytest.param("os.listdir('/run/rlm-graph')", id="folder"),
        pytest.param("open('/proc/1/mem', 'rb')", id="memory"),
        pytest.param("open('/proc/1/environ').read()", id="environment"),
        pytest.param("os.listdir('/proc/1/fd')", id="descriptors"),
        pytest.param("os.kill(1, 9)", id="kill"),
        pytest.param("os.kill(1, 15)", id="terminate"),
        pytest.param("os.listdir('/rlm-graph/contexts')", id="contexts"),
        pytest.param("open('/rlm-graph/x', 'w')", id="bundle"),
        pytest.param("os.chmod('/rlm-graph', 0o777)", id="mode"),
        pytest.param("open('/tmp/x', 'w')", id="root"),
        pytest.param("os.setuid(0)", id="root again"),
        pytest.param("socket.create_connection(('1.1.1.1', 53), 5)", id="network"),
    ],
)
def test_the_workers_user_reaches_nothing_of_the_supervisors(
    client: docker.APIClient, handle: ReplHandle, attempt: str
) -> None:
    code = f"import os, socket\ntry:\n    {attempt}\nexcept OSError as error:\n    print('refused', error)"

    assert said(client, handle, worker_user(handle.id), code).startswith("refused")


def test_the_supervisor_hears_no_user_but_its_own(client: docker.APIClient, handle: ReplHandle) -> None:
    ask = (
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('/run/rlm-graph/control.sock')\n"
        'try:\n    s.sendall(b\'{"op": "look", "re": 1}\\n\')\n    print(s.recv(1 << 16))\n'
        "except OSError as error:\n    print(error)"
    )
    open_up = "import os\nos.chmod('/run/rlm-graph', 0o755)\nos.chmod('/run/rlm-graph/control.sock', 0o777)"
    shut = "import os\nos.chmod('/run/rlm-graph', 0o700)"

    said(client, handle, 0, open_up)
    theirs = said(client, handle, worker_user(handle.id), ask)
    ours = said(client, handle, 0, ask)
    said(client, handle, 0, shut)

    assert "idle_s" in ours
    assert theirs.strip() in ("b''", "[Errno 104] Connection reset by peer", "[Errno 32] Broken pipe")


async def test_memory_has_a_ceiling_that_code_reads_as_an_error_or_that_ends_it(docker_image: str) -> None:
    async with notebook(DockerExecutor(settings(docker_image, memory_bytes=128 * MEGABYTE))) as book:
        much = await book.run("kept = 1\nb = bytearray(200 << 20)")
        kept = await book.run("kept")
        # Of memory that is shared the kernel keeps no account by process, only the container's.
        shared = await book.run("import mmap\nm = mmap.mmap(-1, 300 << 20)\nwhile m.write(b'x' * (1 << 20)): pass")
        after = await book.run("1", number=1)

    assert much.error is not None
    assert (much.error.type, kept.value) == ("MemoryError", "1")
    assert shared.status == "killed"
    assert shared.error is not None
    assert "out of memory" in shared.error.message
    assert after.value == "1"


async def test_processes_and_scratch_files_have_a_ceiling(docker_image: str) -> None:
    few = settings(docker_image, pids=16, scratch_bytes=MEGABYTE)
    async with notebook(DockerExecutor(few)) as book:
        threads = await book.run(
            "import threading\nstop = threading.Event()\n"
            "try:\n    for n in range(64): threading.Thread(target=stop.wait).start()\n"
            "except RuntimeError: print('no more')\nfinally: stop.set()"
        )
        written = await book.run("for n in range(8): open(f'{n}', 'wb').write(bytes(300_000))")
        after = await book.run("1")

    assert threads.stdout == "no more\n"
    assert written.error is not None
    assert written.error.type == "OSError"
    assert after.value == "1"


async def test_code_that_takes_every_process_keeps_no_host_out(docker_image: str) -> None:
    executor = DockerExecutor(settings(docker_image, pids=16))
    greedy = (
        "import threading, time\nforever = threading.Event()\n"
        "def take():\n    while True:\n        try: threading.Thread(target=forever.wait, daemon=True).start()\n"
        "        except RuntimeError: full.set(); time.sleep(0.0001)\n"
        "full = threading.Event()\nthreading.Thread(target=take, daemon=True).start()\nfull.wait()"
    )
    async with executor.attached(None) as repl:
        taken = await Notebook(repl).run(greedy)
    async with executor.attached(repl.handle) as again:
        after = await Notebook(again).run("threading.active_count()")
    await executor.close(repl.handle)

    assert (taken.value, after.value) == ("True", "12")
    assert again.handle == repl.handle, "it was the same container"


async def test_a_network_is_there_for_those_who_ask(docker_image: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    code = f"import socket\nsocket.create_connection(('127.0.0.1', {port})).recv(5)"
    async with server:
        async with notebook(DockerExecutor(settings(docker_image, network="host"))) as book:
            reached = await book.run(code)
        async with notebook(DockerExecutor(settings(docker_image))) as book:
            refused = await book.run(code)

    assert reached.value == "b'hello'"
    assert refused.error is not None
    assert refused.error.type == "PermissionError"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"network": "rlm-graph-test-none"}, r"network rlm-graph-test-none not found.*docker network ls"),
        ({"cpus": 100_000.0}, r"refuses the executor's settings: Range of CPUs"),
    ],
    ids=["network", "processors"],
)
async def test_what_the_machine_does_not_have_is_an_error_that_says_so(
    docker_image: str, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(SetupError, match=words):
        async with DockerExecutor(settings(docker_image, **given)).attached(None):
            pass
