"""Daemons elsewhere, and those that go away."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors.base import HostCall
from rlm_graph.executors.conformance import Host, Notebook
from rlm_graph.executors.conformance.notebook import until
from rlm_graph.executors.docker import DockerExecutor
from rlm_graph.settings import DockerSettings
from tests.executors.docker.conftest import notebook, settings
from tests.executors.docker.proxy import Proxy

pytestmark = pytest.mark.docker


ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with Proxy() as proxy:
        yield proxy


async def test_a_stream_that_breaks_in_a_cell_is_opened_again(proxy: Proxy, docker_image: str) -> None:
    executor = DockerExecutor(settings(docker_image, host=proxy.url))

    def reply(call: HostCall) -> str:
        if call.arguments["prompt"] == "cut":
            proxy.cut()
        return f"{call.arguments['prompt']}!"

    async with notebook(executor) as book:
        host = Host(reply)
        told = await book.run("print(llm_query('a'), llm_query('cut'), llm_query('b'))", serve=host)
        proxy.cut()
        after = await book.run("'more'")

    assert told.stdout == "a! cut! b!\n"
    assert [call.arguments["prompt"] for call in host.calls] == ["a", "cut", "b"]
    assert after.value == "'more'"
    assert proxy.upgrades == 3


async def test_a_cell_that_gets_on_outlasts_any_number_of_breaks(proxy: Proxy, docker_image: str) -> None:
    executor = DockerExecutor(settings(docker_image, host=proxy.url))

    def reply(call: HostCall) -> str:
        proxy.cut()
        return f"{call.arguments['prompt']}!"

    async with notebook(executor) as book:
        host = Host(reply)
        told = await book.run("[llm_query(str(n)) for n in range(8)][-1]", serve=host)

    assert told.value == "'7!'"
    assert len(host.calls) == 8
    assert proxy.upgrades == 9


async def test_a_daemon_that_goes_away_is_an_error_that_says_so(docker_image: str) -> None:
    local = DockerExecutor(settings(docker_image))
    async with Proxy() as proxy:
        executor = DockerExecutor(settings(docker_image, host=proxy.url))
        async with executor.attached(None) as repl:
            assert (await Notebook(repl).run("x = 1")).status == "ok"
            await proxy.__aexit__()
            with pytest.raises(ExecutorError, match=r"daemon at .* does not answer.*start it"):
                await Notebook(repl).run("x", number=2)
        with pytest.raises(ExecutorError, match="does not answer"):
            await executor.close(repl.handle)

    # It was the way to it only, so the REPL is still there.
    async with local.attached(repl.handle) as again:
        assert (await Notebook(again).run("x", number=2)).value == "1"
    await local.close(repl.handle)


async def test_no_daemon_at_all_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    executor = DockerExecutor(DockerSettings(host=f"unix://{tmp_path}/none.sock"))

    with pytest.raises(SetupError, match=r"no Docker daemon answers.*DOCKER_HOST"):
        async with executor.attached(None):
            pass


def test_without_the_sdk_the_error_names_the_extra() -> None:
    script = (
        "import asyncio, sys\nsys.modules['docker'] = None\n"
        "from rlm_graph.executors.docker import DockerExecutor\n"
        "async def main():\n    async with DockerExecutor().attached(None): pass\n"
        "asyncio.run(main())"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)

    assert ended.stderr.splitlines()[-1].startswith("rlm_graph.errors.SetupError")
    assert "pip install 'rlm-graph[docker]'" in ended.stderr


async def test_the_environment_names_the_daemon(
    proxy: Proxy, docker_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", proxy.url)
    async with notebook(DockerExecutor(settings(docker_image))) as book:
        assert (await book.run("1")).value == "1"

    assert proxy.upgrades == 1


async def test_a_context_of_the_docker_command_names_the_daemon(
    proxy: Proxy, docker_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    create = ["docker", "context", "create", "elsewhere", "--docker", f"host={proxy.url}"]
    await asyncio.to_thread(subprocess.run, create, check=True, capture_output=True)
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    async with notebook(DockerExecutor(settings(docker_image))) as book:
        assert (await book.run("1")).value == "1"

    assert proxy.upgrades == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command to make certificates with")
async def test_a_daemon_behind_tls_is_reached_with_the_users_certificate(
    docker_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1 "
        "-addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    shutil.copy(tmp_path / "cert.pem", tmp_path / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they go before what a daemon's own settings say
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")

    async with Proxy(tls) as proxy:
        async with notebook(DockerExecutor(settings(docker_image, host=proxy.url))) as book:
            assert (await book.run("1")).value == "1"

        assert proxy.upgrades == 1


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In ssh's place a program that notes its arguments and starts the command here; the rest is Docker's own."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$$" >> {tmp_path}/pids\necho "$@" >> {tmp_path}/log\n'
        'while [ "$1" != -- ]; do shift; done\n'
        '[ "$2" = elsewhere ] || { echo "ssh: no host $2" >&2; exit 255; }\nshift 2\nexec "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


def running(pids: Path) -> list[str]:
    return [pid for pid in pids.read_text().split() if Path("/proc", pid).exists()]


async def test_a_daemon_is_reached_through_ssh_and_nothing_of_it_stays(docker_image: str, ssh: Path) -> None:
    executor = DockerExecutor(settings(docker_image, host="ssh://me@elsewhere:2222"))

    async with notebook(executor) as book:
        assert (await book.run("1")).value == "1"
        used = running(ssh / "pids")
    del executor, book
    gc.collect()

    assert set((ssh / "log").read_text().splitlines()) == {
        "-l me -p 2222 -T -o BatchMode=yes -- elsewhere docker system dial-stdio"
    }
    assert len(used) == 2, "one for the SDK, which it keeps, and one for the relay"
    await until(lambda: running(ssh / "pids") == [])


async def test_what_ssh_says_is_told_when_it_fails(ssh: Path) -> None:
    with pytest.raises(SetupError, match=r"ssh://nowhere:22: ssh: no host nowhere; .* DOCKER_HOST"):
        async with DockerExecutor(DockerSettings(host="ssh://nowhere")).attached(None):
            pass

    assert running(ssh / "pids") == []


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DOCKER_CONTEXT": "missing"}, "no Docker context 'missing'.*docker context ls"),
        ({"DOCKER_HOST": "tcp://"}, "of no use: .*tcp://.*correct `host` or DOCKER_HOST"),
        ({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"}, "of no use: .*certificate"),
    ],
)
async def test_an_address_of_no_use_is_an_error_that_says_so(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SetupError, match=words):
        async with DockerExecutor(DockerSettings()).attached(None):
            pass
