"""Servers of models on this machine: found by what they answer, and by nothing that takes long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rlm_graph.cli.doctor import local_servers
from rlm_graph.models.local_servers import MAX_BYTES, Program, find_servers
from rlm_graph.testing import ScriptedServer


def port_of(server: ScriptedServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


@contextmanager
def answering(answer: bytes, *, closes: bool = True) -> Iterator[int]:
    """A port whose first visitor gets `answer`, and then the end of the connection or nothing more."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(65536)
                try:
                    peer.sendall(answer)
                except OSError:  # it has seen enough
                    return
                if not closes:
                    over.wait(100)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            over.set()
            thread.join(100)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def test_a_server_is_found_with_what_its_models_are_called_here() -> None:
    with ScriptedServer(lambda request: "never asked") as server:
        ollama, other = Program("Ollama", port_of(server), "ollama"), Program("vLLM", port_of(server))
        nobody = Program("LM Studio", closed_port(), "lm_studio")

        found = await find_servers([ollama, nobody, other], deadline_s=60)

    assert [each.program for each in found] == [ollama, other]
    assert found[0].models == ("scripted",)
    assert found[0].model("scripted") == ("ollama/scripted", None)
    assert found[1].model("scripted") == ("scripted", other.url)
    assert server.count == 0


async def test_what_answers_something_else_is_no_server_of_models() -> None:
    head = b"HTTP/1.0 200 OK\r\n\r\n"
    answers = (
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.0 404 Not Found\r\n\r\n{}",
        head + b"<html>",
        head + b"[1]",
        head + b'{"data": 3}',
        head + b'{"data": [{"id": 3}, {}]}',
        head + b"x" * (2 * MAX_BYTES),
        head + b"[" * 100_000,
    )

    for answer in answers:
        with answering(answer) as port:
            assert await find_servers([Program("x", port)], deadline_s=60) == (), answer[:40]


async def test_one_that_never_ends_its_answer_is_given_up() -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n{", closes=False) as port:
        assert await find_servers([Program("x", port)], deadline_s=0.05) == ()


def test_doctor_says_which_flags_name_the_models_that_it_finds() -> None:
    with ScriptedServer(lambda request: "never asked") as server:
        program = Program("llama.cpp", port_of(server))

        [check] = local_servers([program])

    assert check.state == "ok"
    assert check.detail == f"llama.cpp, port {program.port}: -m scripted --base-url {program.url}"


def test_doctor_says_where_it_has_looked_when_there_is_none() -> None:
    port = closed_port()

    [check] = local_servers([Program("Ollama", port, "ollama")])

    assert (check.state, check.detail) == (
        "absent",
        f"no server answers on this machine; looked for Ollama ({port})",
    )
