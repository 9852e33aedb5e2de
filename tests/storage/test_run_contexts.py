"""Which run refers to which context is known as soon as the reference is recorded, however it came in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from rlm_graph.state import Answer, ContextRef, FinalAnswer, KeptValue, SubcallReply
from rlm_graph.storage.copying import fork
from rlm_graph.storage.encryption import Cipher
from rlm_graph.storage.run_contexts import instances_in
from rlm_graph.storage.runs import Runs
from rlm_graph.typed_answer import TypedAnswer
from tests.storage.test_runs import create

KEY = b"0123456789abcdef"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    found: Path | str = tmp_path / "runs.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres")
    return found


@pytest.fixture(params=["in the clear", "encrypted"])
def cipher(request: pytest.FixtureRequest) -> Cipher | None:
    return Cipher(KEY) if request.param == "encrypted" else None


def ref(letter: str) -> ContextRef:
    return ContextRef(sha256=letter * 64, kind="str", chars=1, bytes=1)


def step(run: str, namespace: str = "") -> Any:
    return {"configurable": {"thread_id": run, "checkpoint_ns": namespace, "checkpoint_id": "1"}}


async def is_shared(runs: Runs, other: str, letter: str) -> bool:
    """Whether deleting `other` would have to leave the context."""
    return await runs.unshared(await runs.get(other), [ref(letter)]) == []


async def test_a_reference_counts_from_the_entry_a_write_or_a_checkpoint_of_any_depth(
    place: Path | str, cipher: Cipher | None
) -> None:
    async with Runs.open(place, cipher=cipher) as runs:
        await create(runs, id="other")
        assert not any([await is_shared(runs, "other", letter) for letter in "abcd"])

        await create(runs, id="run", settings={"context": ref("a").model_dump(mode="json")})
        await runs.saver.aput_writes(step("run"), [("contexts", [ref("b")])], "a task")
        values = {"__start__": {"contexts": [ref("c")]}}
        await runs.saver.aput(step("run"), {**empty_checkpoint(), "channel_values": values}, {}, {"__start__": 1})
        await runs.saver.aput_writes(step("run", "act:1|recurse:2"), [("contexts", [ref("d")])], "a task")

        assert all([await is_shared(runs, "other", letter) for letter in "abcd"])
        assert not await is_shared(runs, "run", "a")


async def test_a_fork_refers_to_what_its_source_did_once_it_is_a_run(place: Path | str, cipher: Cipher | None) -> None:
    async with Runs.open(place, cipher=cipher) as runs:
        await create(runs, id="source")
        values = {"contexts": [ref("a")]}
        checkpoint = {**empty_checkpoint(), "channel_values": values, "channel_versions": {"contexts": 1}}
        config: Any = {"configurable": {"thread_id": "source", "checkpoint_ns": ""}}
        await runs.saver.aput(config, checkpoint, {}, {"contexts": 1})

        await fork(runs.saver, "source", "copy")
        assert not await is_shared(runs, "source", "a")  # a copy that was cut off keeps nothing
        await create(runs, id="copy")
        assert await is_shared(runs, "source", "a")

        await runs.delete("source")
        assert not await is_shared(runs, "copy", "a")


async def test_a_name_that_is_taken_again_begins_without_references(place: Path | str) -> None:
    async with Runs.open(place) as runs:
        await create(runs, id="other")
        await create(runs, id="mine", settings={"context": ref("a").model_dump(mode="json")})
        assert await runs.state("mine") == {}
        await runs.delete("mine")
        await create(runs, id="mine")

        assert not await is_shared(runs, "other", "a")


async def test_an_encrypted_database_does_not_tell_which_folder_holds_a_runs_context(place: Path | str) -> None:
    cipher = Cipher(KEY)
    async with Runs.open(place, cipher=cipher) as runs:
        await create(runs, id="run", settings={"context": ref("a").model_dump(mode="json")})

        [(name,)] = await runs._database.read("SELECT context FROM run_contexts")
        assert name not in (ref("a").sha256, cipher.name(ref("a").sha256))


KEPT = KeptValue(ref=ContextRef(sha256="a" * 64, kind="str", chars=1, bytes=1, parts=1, longest=1), form="text")


@pytest.mark.parametrize(
    ("whole", "large"),
    [
        (SubcallReply(value="short"), SubcallReply(kept=KEPT)),
        (FinalAnswer(value="short"), FinalAnswer(value="", kept=KEPT)),
        (
            Answer(value="short", text="short", complete=True),
            Answer(value="", text="", complete=True, kept=KEPT),
        ),
        (TypedAnswer(value="short"), TypedAnswer(value=None, kept=KEPT.model_dump(mode="json"))),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_a_large_answer_counts_as_the_context_that_holds_it_at_any_depth(whole: Any, large: Any) -> None:
    assert [*instances_in({"replies": {0: whole, 1: large}, "more": [(large,)]}, ContextRef)] == [KEPT.ref] * 2
