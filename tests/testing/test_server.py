from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from rlm_graph.testing import ScriptedCall, ScriptedReply, ScriptedServer

SCRIPT = """
from rlm_graph.testing import ScriptedReply
def script(request):
    return ScriptedReply(f"{request.number}: {request.prompt}")
other = ["the only reply"]
"""


def client(server: ScriptedServer, key: str = "k") -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key=key, max_retries=0)


def ask(server: ScriptedServer, prompt: str = "x", **params: Any) -> Any:
    with client(server) as openai_client:
        return openai_client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": prompt}], **params
        )


def test_openais_own_client_reads_a_whole_reply() -> None:
    calls = [ScriptedCall("repl", {"code": "1"})]
    with ScriptedServer([ScriptedReply("hello", tool_calls=calls, reasoning="hm")]) as server:
        reply = ask(server, "four words are here")

    choice = reply.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("hello", "tool_calls")
    assert choice.message.tool_calls[0].function.arguments == '{"code": "1"}'
    assert choice.message.reasoning_content == "hm"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (5, 5)


def test_openais_own_client_reads_a_streamed_reply() -> None:
    reply = ScriptedReply("hello world", chunk_chars=4, tool_calls=[ScriptedCall("f")], input_tokens=7, cached_tokens=3)
    with ScriptedServer([reply]) as server, client(server) as openai_client:
        chunks = list(
            openai_client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "x"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )

    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [text for text in texts if text] == ["hell", "o wo", "rld"]
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 7
    assert chunks[-1].usage.prompt_tokens_details is not None
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 3


def test_usage_is_streamed_only_to_those_who_ask_for_it() -> None:
    with ScriptedServer(["x"]) as server, client(server) as openai_client:
        chunks = list(
            openai_client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        )

    assert all(chunk.usage is None for chunk in chunks)


def test_requests_are_kept_with_what_they_asked() -> None:
    with ScriptedServer(lambda request: request.prompt.upper()) as server:
        ask(server, "first", temperature=0.5)
        ask(server, "second", tools=[{"type": "function", "function": {"name": "f"}}])

        first, second = server.requests
        assert [first] == server.requests_like(lambda request: request.body.get("temperature") == 0.5)
        assert (first.number, first.model, first.prompt, first.stream) == (1, "m", "first", False)
        assert first.headers["authorization"] == "Bearer k"
        assert second.tools[0]["function"]["name"] == "f"
        assert server.count == 2


def test_the_prompt_of_a_message_in_parts_is_their_text() -> None:
    content = [{"type": "text", "text": "look: "}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    with ScriptedServer(["x"]) as server:
        httpx.post(f"{server.url}/chat/completions", json={"messages": [{"role": "user", "content": content}]})

        assert server.requests[0].prompt == "look: "


def test_models_and_health_are_answered_and_other_paths_are_not() -> None:
    with ScriptedServer([], models=("a", "b")) as server, client(server) as openai_client:
        assert [model.id for model in openai_client.models.list()] == ["a", "b"]
        assert httpx.get(f"{server.url}/health").json()["scripted"] is True
        assert httpx.get(server.url.removesuffix("/v1") + "/health").status_code == 200
        assert httpx.get(f"{server.url}/other").status_code == 404
        assert httpx.post(f"{server.url}/other", json={}).status_code == 404
        assert httpx.post(f"{server.url}/chat/completions", content=b"{").status_code == 400
        assert server.count == 0


def test_an_error_has_its_status_body_and_headers() -> None:
    reply = ScriptedReply(status=429, error={"message": "slow", "code": "c"}, headers={"retry-after": "3"})
    with ScriptedServer([reply]) as server, pytest.raises(openai.RateLimitError) as caught:
        ask(server)

    assert caught.value.code == "c"
    assert caught.value.response.headers["retry-after"] == "3"


def test_a_connection_can_be_cut_before_and_within_a_reply() -> None:
    with ScriptedServer(lambda _: ScriptedReply("a long reply to be cut", drop_after=1)) as server:
        with pytest.raises(openai.APIConnectionError):
            ask(server)
        with client(server) as openai_client, pytest.raises(httpx.RemoteProtocolError):
            list(openai_client.chat.completions.create(model="m", messages=[], stream=True))


def test_a_script_that_ends_or_fails_says_so_to_the_client() -> None:
    with ScriptedServer(["only one"]) as server:
        ask(server)
        with pytest.raises(openai.BadRequestError, match="the script has ended, at request 2"):
            ask(server)
    with (
        ScriptedServer(lambda request: request.body["x"]) as server,
        pytest.raises(openai.BadRequestError, match="KeyError"),
    ):
        ask(server)


def test_a_held_request_waits_while_others_are_answered() -> None:
    with ScriptedServer(lambda request: request.prompt) as server, ThreadPoolExecutor() as pool:
        with server.holding(lambda request: request.prompt == "slow") as hold:
            slow = pool.submit(ask, server, "slow")
            hold.wait()
            assert ask(server, "fast").choices[0].message.content == "fast"
            assert not slow.done()
            hold.release()
            assert slow.result(30).choices[0].message.content == "slow"
        with server.holding(3):
            third = pool.submit(ask, server, "third")
            server.wait_for(3)
        assert third.result(30).choices[0].message.content == "third"  # leaving the block released it


def test_waiting_for_what_does_not_come_ends() -> None:
    with ScriptedServer([]) as server, server.holding(1) as hold:
        with pytest.raises(TimeoutError, match="no request to hold"):
            hold.wait(0.01)
        with pytest.raises(TimeoutError, match="0 of 1 requests"):
            server.wait_for(1, 0.01)


def test_a_gate_and_a_stall_hold_a_reply_until_they_are_opened() -> None:
    gate = threading.Event()
    replies = [ScriptedReply("first", gate=gate), ScriptedReply("one two", chunk_chars=4, stall_after=1, gate=gate)]
    with ScriptedServer(replies) as server, ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, server)
        server.wait_for(1)
        assert not waiting.done()
        gate.set()
        assert waiting.result(30).choices[0].message.content == "first"
        gate.clear()
        with client(server) as openai_client:
            stream = openai_client.chat.completions.create(model="m", messages=[], stream=True)
            seen = [next(stream).choices[0].delta.content for _ in range(2)]
            assert seen == ["", "one "]
            gate.set()
            assert [chunk.choices[0].delta.content for chunk in stream] == ["two", None]


def test_stopping_lets_go_of_every_client() -> None:
    server = ScriptedServer(lambda _: ScriptedReply("x", gate=threading.Event())).start()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, server)
        server.wait_for(1)
        server.stop()
        server.stop()
        assert waiting.exception(30) is None or isinstance(waiting.exception(), openai.APIConnectionError)


def test_fifty_clients_at_once_are_counted_once_each() -> None:
    with ScriptedServer(lambda request: request.prompt) as server, ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda n: ask(server, str(n)).choices[0].message.content, range(50)))

        assert replies == [str(n) for n in range(50)]
        assert sorted(request.number for request in server.requests) == list(range(1, 51))


def test_a_connection_serves_one_request_after_the_other() -> None:
    with ScriptedServer(lambda request: str(request.number)) as server:
        parts = urlsplit(server.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        for number in (1, 2):
            connection.request("POST", "/v1/chat/completions", json.dumps({"messages": []}))
            body = json.loads(connection.getresponse().read())
            assert body["choices"][0]["message"]["content"] == str(number)
        connection.close()


# --- As a program --------------------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "replies.py"
    path.write_text(SCRIPT)
    return path


def serve(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rlm_graph.testing", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "scripted model" in line
    return line.split()[-1]


def test_the_program_serves_logs_and_ends_on_sigterm(script: Path, tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with serve("--script", str(script), "--log", str(log), folder=tmp_path) as process:
        url = url_of(process)
        for prompt in ("a", "b\ud800"):
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]})
            reply = httpx.post(f"{url}/chat/completions", content=body, headers={"authorization": "Bearer secret"})
            # The line is there before the reply: whoever has a reply finds its request in the log.
            assert len(log.read_text().splitlines()) == reply.json()["usage"]["prompt_tokens"] + (prompt != "a")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2]
    assert lines[1]["body"]["messages"][0]["content"] == "b\ud800"
    assert "secret" not in log.read_text()


@pytest.mark.parametrize("name", ["replies.py:other", "replies:other"])
def test_the_program_takes_a_file_or_a_module(name: str, script: Path, tmp_path: Path) -> None:
    with serve("--script", name, folder=tmp_path) as process:
        reply = httpx.post(f"{url_of(process)}/chat/completions", json={"messages": []})
        process.terminate()

    assert reply.json()["choices"][0]["message"]["content"] == "the only reply"


@pytest.mark.parametrize("name", ["missing.py", "missing_module:script", "replies.py:nothing"])
def test_a_script_that_is_not_there_is_one_line(name: str, script: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlm_graph.testing", "--script", name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(f"no script '{name}'")
    assert len(done.stderr.splitlines()) == 1


def test_the_program_ends_when_its_parent_dies(script: Path, tmp_path: Path) -> None:
    parent = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "rlm_graph.testing", "--script", {str(script)!r}],
                         stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert httpx.get(f"{url}/health").status_code == 200
        process.kill()

    for _ in range(600):
        try:
            httpx.get(f"{url}/health")
        except httpx.TransportError:
            return
        threading.Event().wait(0.05)
    pytest.fail("the server outlived its parent")
