"""Texts that a sandbox names: what it says of them is checked against what it was given."""

from __future__ import annotations

import asyncio
import errno
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.executors.base import HostCall
from rlm_graph.executors.conformance.notebook import stored
from rlm_graph.executors.host.handed_texts import BadText, GivenContexts
from rlm_graph.executors.host.reports import ReportedCall
from rlm_graph.handed import ReadingRoom, TextAt, WholeContext

TEXT = "plain é 漢字 😀\n" * 10


async def nothing(call: int, start: int) -> bytes:
    return b""


def given(folder: Path) -> GivenContexts:
    contexts = GivenContexts()
    contexts.add(1, stored(folder / "1", TEXT), folder / "1")
    contexts.add(2, stored(folder / "2", {"a": "ascii only", "b": TEXT}), folder / "2")
    return contexts


def reported(named: dict[str, Any], function: str = "rlm_query", **more: Any) -> ReportedCall:
    text = {"path": ["context"], "context": 1, "part": 0, "start": 0, "bytes": 5, "chars": 5, **named}
    return ReportedCall.model_validate({
        "id": 1, "function": function, "arguments": {"question": "q", "context": None}, "nth": 0,
        "texts": [text], **more,
    })  # fmt: skip


async def resolved(contexts: GivenContexts, call: ReportedCall) -> HostCall:
    async with AsyncExitStack() as files:
        return await contexts.call(call, nothing, files)


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"start": 0, "bytes": 8}, "plain é"),
        ({"start": 9, "bytes": 6}, "漢字"),
        ({"context": 2, "part": 0, "start": 6, "bytes": 4}, "only"),
        ({"context": 2, "part": 1, "start": 0, "bytes": len(TEXT.encode())}, TEXT),
    ],
)
async def test_a_piece_is_handed_over_as_the_place_where_it_lies(
    tmp_path: Path, named: dict[str, Any], text: str
) -> None:
    call = await resolved(given(tmp_path), reported({**named, "chars": 999}))

    [handed] = call.handed
    assert isinstance(handed.text, TextAt)
    assert handed.path == ("context",)
    assert handed.text.read() == text
    assert handed.text.chars == len(text)
    assert "".join(block.decode() for block in handed.text.blocks()) == text


async def test_a_whole_context_is_handed_over_as_its_reference(tmp_path: Path) -> None:
    call = await resolved(given(tmp_path), reported({"context": 2, "part": None}))

    [handed] = call.handed
    assert isinstance(handed.text, WholeContext)
    assert handed.text.read() == {"a": "ascii only", "b": TEXT}


async def test_a_piece_in_any_other_argument_is_read(tmp_path: Path) -> None:
    call = await resolved(given(tmp_path), reported({"bytes": 8}, function="llm_query"))

    assert call.handed == ()
    assert call.arguments == {"question": "q", "context": "plain é"}


@pytest.mark.parametrize(
    "named",
    [
        {"context": 3},
        {"context": 2, "part": 2},
        {"context": 2, "part": 0, "start": 6, "bytes": 5},
        {"context": 2, "part": 0, "start": 1 << 40, "bytes": 0},
        {"start": len(TEXT.encode()) - 1, "bytes": 2},
        {"start": 7, "bytes": 1},
        {"start": 0, "bytes": 7},
        {"start": 8, "bytes": 1 << 61},
        {"context": 0},
        {"path": ["question"]},
        {"path": ["nowhere"]},
        {"path": ["context", 3]},
        {"path": [0]},
    ],
)
async def test_what_a_sandbox_was_not_given_is_an_error_in_its_code(tmp_path: Path, named: dict[str, Any]) -> None:
    with pytest.raises(BadText):
        await resolved(given(tmp_path), reported(named))


async def test_what_was_sent_beside_a_call_is_what_it_says() -> None:
    from hashlib import sha256

    async def fetch(call: int, start: int) -> bytes:
        return b"sent text"[start : start + 4]

    async def made(said: str, size: int = 9, start: int = 0) -> HostCall:
        named = {"context": 0, "part": None, "start": start, "bytes": 9}
        async with AsyncExitStack() as files:
            call = reported(named, sent=said, sent_bytes=size)
            found = await GivenContexts().call(call, fetch, files)
            assert isinstance(found.handed[0].text, TextAt)
            assert found.handed[0].text.read() == "sent text"
            return found

    digest = sha256(b"sent text").hexdigest()
    await made(digest)
    for said, size, start in ((sha256(b"other").hexdigest(), 9, 0), (digest, 8, 0), (digest, 10, 0), (digest, 9, 1)):
        with pytest.raises(BadText):
            await made(said, size, start)


async def test_a_dict_of_the_codes_is_never_taken_for_a_place() -> None:
    from pydantic import ValidationError

    from rlm_graph.calls.requests import AgentRequest, read_requests

    forged = {"file": "/etc/passwd", "start": "0", "size": "10", "chars": "10", "of": "x"}
    call = HostCall(id=1, function="rlm_query", arguments={"question": "q", "context": forged}, nth=0)  # type: ignore[arg-type]

    [request] = read_requests(call, recursive=True)

    assert isinstance(request, AgentRequest)
    assert request.context == forged  # a dict of texts, as it was
    with pytest.raises(ValidationError):
        read_requests(
            HostCall(id=1, function="rlm_query", arguments={"question": "q", "context": {**forged, "start": 0}}, nth=0),
            recursive=True,
        )


async def test_a_few_words_that_name_more_than_can_be_read_are_an_error_in_the_code(tmp_path: Path) -> None:
    contexts = given(tmp_path)
    contexts.add(3, stored(tmp_path / "3", "x").model_copy(update={"bytes": 1 << 20}), tmp_path / "3")
    texts = [
        {"path": ["prompts", index], "context": 3, "part": None, "start": 0, "bytes": 0, "chars": 0}
        for index in range(5_000)
    ]
    call = reported({}, function="llm_query_batched", arguments={"prompts": [None] * 5_000}, texts=texts)

    with pytest.raises(BadText, match="ask in parts"):
        await resolved(contexts, call)


async def test_texts_that_would_be_counted_for_ever_are_an_error_in_the_code(tmp_path: Path) -> None:
    folder, size = tmp_path / "large", 100 << 30
    reference = stored(folder, "é" * 10)
    with (folder / "text").open("ab") as file:
        file.truncate(size)  # a hole, which takes no room on the disk
    part = {"name": None, "start": 0, "bytes": size, "chars": size - 10, "ascii": False}
    (folder / "index.json").write_text(json.dumps({"kind": "str", "parts": [part]}))
    contexts = GivenContexts()
    contexts.add(1, reference, folder)

    with pytest.raises(BadText, match="ask in parts"):
        await resolved(contexts, reported({"bytes": size - 1}))


async def test_calls_whose_texts_are_read_wait_for_each_other() -> None:
    room, order = ReadingRoom(), list[str]()

    async def read(name: str, size: int) -> None:
        async with room.taken(size):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(read("first", 3 << 30), read("second", 2 << 30), read("third", 1 << 20))

    assert order.index("first ends") < order.index("second begins")
    assert order.index("third begins") < order.index("first ends")


async def test_what_the_host_has_no_room_for_is_an_error_in_the_code() -> None:
    async def fetch(call: int, start: int) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with AsyncExitStack() as files:
        call = reported({"context": 0, "part": None}, sent="0" * 64, sent_bytes=5)
        with pytest.raises(BadText, match="cannot be kept: No space left"):
            await GivenContexts().call(call, fetch, files)
