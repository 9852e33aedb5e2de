"""The base of executors with a supervisor, in a place of its own: the local one, with a way there that can break."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.conformance import Notebook, stored
from rlm_graph.executors.host.executor import SupervisedExecutor
from rlm_graph.executors.host.repl import ContextUploads, SupervisedRepl
from rlm_graph.executors.host.sandboxes import ListedSandbox
from rlm_graph.executors.host.stream import LinkLost, Reader, Writer
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.executors.machine.folder import ReplFolder
from rlm_graph.state import ReplHandle

NAME = "00000000000000ce"


class Place(SupervisedExecutor):
    """Has what every place must have and nothing else; its supervisors are those of the local executor."""

    kind = "local"

    def __init__(self, folder: Path) -> None:
        self.local = LocalExecutor(folder=folder / "repls")
        self.contexts = folder / "contexts"
        self.uploaded: list[str] = []
        self.ended: list[str] = []
        self.broken: list[Exception] = []
        """What the next connections fail with."""
        self.faster = False
        """Whether another process starts the REPL of the same name just before this one."""
        self.silent: asyncio.Event | None = None
        """Set when a connection is opened, which then never comes about."""

    def repl(self, handle: ReplHandle, tools: Sequence[str] = ()) -> SupervisedRepl:
        async def connect() -> tuple[Reader, Writer]:
            if self.silent is not None:
                self.silent.set()
                await asyncio.Event().wait()
            if self.broken:
                raise self.broken.pop(0)
            return await ReplFolder(Path(handle.address)).connect()

        async def upload(name: str, folder: Path) -> None:
            self.uploaded.append(name)
            shutil.copytree(folder, self.contexts / name)

        return SupervisedRepl(handle, connect, tools=tools, uploads=ContextUploads(str(self.contexts), upload))

    async def has(self, handle: ReplHandle) -> bool:
        return await self.local.has(handle)

    async def find(self, name: str) -> str | None:
        return await self.local.find(name)

    async def start(self, name: str, tools: Sequence[str]) -> SupervisedRepl | None:
        started = await self.local.start(name, tools)
        if self.faster or started is None:
            return None
        return self.repl(started.handle, tools)

    async def list(self) -> Sequence[ListedSandbox]:
        return await self.local.list()

    async def end(self, handle: ReplHandle) -> None:
        self.ended.append(handle.id)
        await self.local.end(handle)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    yield place
    for listed in await place.list():
        await place.local.end(listed.handle)


async def used(place: Place) -> ReplHandle:
    """Start a REPL, bind a name in it and leave it."""
    async with place.attached(None, name=NAME) as repl:
        await Notebook(repl).run("kept = 'value'")
    return repl.handle


async def test_a_repl_is_found_again_by_its_handle_and_by_its_name(place: Place) -> None:
    handle = await used(place)

    async with place.attached(handle) as repl:
        by_handle = await Notebook(repl).run("kept")
    async with place.attached(None, name=NAME) as repl:
        by_name = await Notebook(repl).run("kept")
    await place.close(handle)

    assert (by_handle.value, by_name.value) == ("'value'", "'value'")
    assert await place.sandboxes() == []


async def test_a_sandbox_that_nobody_can_tell_of_is_left_alone(place: Place) -> None:
    handle = await used(place)
    place.broken = [LinkLost("no way there"), LinkLost("no way there")]

    for found in (place.attached(handle), place.attached(None, name=NAME)):
        with pytest.raises(LinkLost):
            await found.__aenter__()
    async with place.attached(handle) as repl:
        kept = await Notebook(repl).run("kept")

    assert place.ended == []
    assert kept.value == "'value'"


@pytest.mark.parametrize("by", ["handle", "name"])
async def test_a_sandbox_that_is_of_no_use_is_ended_and_a_fresh_one_started(place: Place, by: str) -> None:
    handle = await used(place)
    place.broken = [ConnectionRefusedError("nobody listens")]

    async with place.attached(handle if by == "handle" else None, name=NAME) as repl:
        assert repl.cells_done == 0

    assert place.ended == [NAME]


async def test_a_supervisor_that_another_process_is_starting_is_waited_for(place: Place) -> None:
    await used(place)
    place.begin_s = 600.0
    place.broken = [ConnectionRefusedError("nobody listens"), ConnectionRefusedError("nobody listens")]

    async with place.attached(None, name=NAME) as repl:
        kept = await Notebook(repl).run("kept")

    assert place.ended == []
    assert kept.value == "'value'"


async def test_who_is_not_the_first_to_start_a_repl_attaches_to_that_of_the_first(place: Place) -> None:
    place.faster = True

    async with place.attached(None, name=NAME) as repl:
        handle = repl.handle

    assert [sandbox.handle for sandbox in await place.sandboxes()] == [handle]


@pytest.mark.parametrize("ends", [True, False])
async def test_a_start_that_is_given_up_is_ended_where_the_place_says_so(place: Place, ends: bool) -> None:
    place.ends_abandoned_starts = ends
    place.silent = asyncio.Event()

    starting = asyncio.create_task(used(place))
    await place.silent.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert place.ended == ([NAME] if ends else [])


async def test_a_supervisor_that_cannot_be_reached_after_its_start_is_ended_and_the_error_says_why(
    place: Place,
) -> None:
    place.broken = [ConnectionRefusedError("nobody listens")]

    with pytest.raises(ExecutorError, match="did not start: nobody listens"):
        await used(place)

    assert place.ended == [NAME]


@pytest.mark.parametrize(
    "change",
    [
        lambda handle: handle.model_copy(update={"kind": "docker"}),
        lambda handle: handle.model_copy(update={"id": "no name"}),
        lambda handle: handle.model_copy(update={"id": "f" * 16}),
    ],
)
async def test_a_handle_that_names_no_repl_of_ours_ends_nothing(
    place: Place, change: Callable[[ReplHandle], ReplHandle]
) -> None:
    handle = await used(place)

    await place.close(change(handle))

    assert place.ended == []
    assert [sandbox.state for sandbox in await place.sandboxes()] == ["idle"]


async def test_a_name_that_is_none_is_refused(place: Place) -> None:
    with pytest.raises(ValueError, match="16 hex digits"):
        await place.attached(None, name="../elsewhere").__aenter__()


async def test_a_context_is_uploaded_once_under_whatever_number_it_is_given(place: Place, tmp_path: Path) -> None:
    reference = stored(tmp_path / "context", "the text")

    async with place.attached(None) as repl:
        for number in (1, 2):
            await repl.add_context(number, reference, folder=tmp_path / "context")
        shown = await Notebook(repl).run("contexts")
        with pytest.raises(ValueError, match="no digest"):
            await repl.add_context(3, reference.model_copy(update={"sha256": "../x"}), folder=tmp_path)

    assert shown.value == "['the text', 'the text']"
    assert place.uploaded == [f"str-{reference.sha256}"]
