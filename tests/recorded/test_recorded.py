"""Runs that were begun by version 0.1.0 go on under the code that is here, wherever they are kept."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from rlm_graph import create_rlm_agent
from rlm_graph.state import PendingToolCall
from rlm_graph.testing import ScriptedModel
from tests.recorded.conftest import Restored, asked_then
from tests.recorded.runs import (
    ASKED,
    BRANCHED,
    CEILING,
    CUT_OFF,
    FINISHED,
    LANES,
    WAITS_FOR_CALLS,
    WAITS_FOR_CODE,
    Recorded,
    is_turn,
    runs_in,
)

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(300)]


def everywhere(*runs: Recorded) -> pytest.MarkDecorator:
    """Each of the runs, in each lane in which it is recorded."""
    cases = [
        pytest.param(lane, run, id=f"{lane}: {run.name}", marks=[pytest.mark.postgres] if "postgres" in lane else [])
        for lane in LANES
        for run in runs
        if run in runs_in(lane)
    ]
    return pytest.mark.parametrize(("restored", "run"), cases, indirect=["restored"])


@everywhere(*CUT_OFF)
def test_a_run_that_was_cut_off_answers_and_asks_only_what_had_not_been_answered(
    restored: Restored, run: Recorded
) -> None:
    resumed = restored.go_on("resume", run.name)

    assert resumed.exit_code == 0, resumed.output
    assert json.loads(resumed.stdout)["answer"] == run.answer
    assert Counter(restored.asked) == Counter(run.left)
    assert status(restored)[run.name] == "done"
    assert json.loads(restored.go_on("resume", run.name).stdout)["answer"] == run.answer
    assert len(restored.asked) == len(run.left)


@everywhere(*(run for run in CUT_OFF if any(is_turn(name) for name in run.left)))
def test_an_agent_that_goes_on_is_told_word_for_word_what_it_had_been_told(restored: Restored, run: Recorded) -> None:
    then = asked_then(restored.lane)

    restored.go_on("resume", run.name)

    assert restored.told
    for name, dialogue in restored.told.items():
        question, _, turn = name.rpartition(" ")
        earlier = [f"{question} {number}" for number in range(1, int(turn) + 1)]
        last = [then[name] for name in earlier if name in then][-1]
        assert dialogue[: len(last)] == last


@pytest.mark.parametrize("restored", ["sqlite"], indirect=True)
def test_tool_calls_that_had_not_been_answered_are_read_by_any_saver(restored: Restored) -> None:
    database = restored.shell.folder / "data" / "runs.sqlite"
    assert b"NativeCall" in database.read_bytes()

    with SqliteSaver.from_conn_string(str(database)) as saver:
        graph = create_rlm_agent(ScriptedModel([]), checkpointer=saver)
        waiting = graph.get_state({"configurable": {"thread_id": "killed-calling-tools"}}).values["native"]

    assert [type(call) for call in waiting] == [PendingToolCall] * 2
    assert [call.name for call in waiting] == ["rlm_batch_complete", "rlm_sub_complete"]


@everywhere(WAITS_FOR_CODE, WAITS_FOR_CALLS)
def test_a_run_that_waits_shows_what_waits_and_goes_on_when_it_is_approved(restored: Restored, run: Recorded) -> None:
    shown = restored.go_on("resume", run.name)
    nothing = restored.asked
    done = restored.go_on("resume", run.name, "--approve")

    assert (shown.exit_code, nothing) == (7, [])
    waiting = json.loads(shown.stdout)["waiting"]
    if run is WAITS_FOR_CODE:
        assert [(each["kind"], each["cells"]) for each in waiting] == [("code", ["FINAL([x, llm_query('code two')])"])]
    else:
        assert sorted(each["preview"] for each in waiting) == run.left
        assert {each["function"] for each in waiting} == {"llm_query"}
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["answer"] == run.answer
    assert sorted(restored.asked) == sorted(run.left)


@everywhere(WAITS_FOR_CODE)
def test_what_waits_can_be_edited(restored: Restored, run: Recorded) -> None:
    (restored.shell.folder / "mine.py").write_text("FINAL(['mine', x])")

    done = restored.go_on("resume", run.name, "--edit", "mine.py")

    assert json.loads(done.stdout)["answer"] == ["mine", run.answer[0]]
    assert restored.asked == []


@everywhere(CEILING)
def test_a_run_that_met_a_ceiling_gives_its_best_answer_and_goes_on_under_a_larger_one(
    restored: Restored, run: Recorded
) -> None:
    met = restored.go_on("resume", run.name)
    nothing = restored.asked
    larger = restored.go_on("resume", run.name, "--max-turns", "6")

    assert (met.exit_code, json.loads(met.stdout)["answer"], nothing) == (4, "About a mile.", [])
    assert larger.exit_code == 0, larger.output
    assert json.loads(larger.stdout)["answer"] == run.answer
    assert restored.asked == list(run.left)


@everywhere(FINISHED)
def test_a_finished_run_has_its_variables_context_and_notes_when_it_is_asked_another_question(
    restored: Restored, run: Recorded
) -> None:
    finished = restored.go_on("resume", run.name)
    nothing = restored.asked
    asked = restored.go_on("ask", run.name, ASKED)

    assert (json.loads(finished.stdout)["answer"], nothing) == (run.answer, [])
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.stdout)["answer"] == [
        "answer to finished one", 880, "answer to deep one", ["The well holds water."],
    ]  # fmt: skip
    assert restored.asked == [f"{ASKED} 1", "deep one"]


@everywhere(FINISHED)
def test_a_finished_run_is_forked_with_its_variables_and_stays_as_it_was(restored: Restored, run: Recorded) -> None:
    before = restored.here("logs", run.name, "--json").stdout

    forked = restored.go_on("fork", run.name, "--at", "2", "--question", BRANCHED, "--thread", "other")

    assert forked.exit_code == 0, forked.output
    assert json.loads(forked.stdout)["answer"] == ["answer to drawn with a bucket", 440, "answer to else one"]
    assert restored.asked == [f"{BRANCHED} 1", "else one"]
    assert restored.here("logs", run.name, "--json").stdout == before


@everywhere(next(run for run in CUT_OFF if run.name == "killed-in-cell"))
def test_a_fork_of_a_killed_run_goes_on_from_a_turn_that_it_had_done(restored: Restored, run: Recorded) -> None:
    forked = restored.go_on("fork", run.name, "--at", "1", "--thread", "other")

    assert json.loads(forked.stdout)["answer"] == run.answer
    assert Counter(restored.asked) == Counter([
        f"{run.question} 2", "cell two", "cell three", "cell four", "cell five", f"{run.question} 3",
    ])  # fmt: skip


def test_all_runs_are_listed_and_shown_with_what_they_did(restored: Restored) -> None:
    runs = runs_in(restored.lane)
    shown = {run.name: json.loads(restored.here("logs", run.name, "--json").stdout) for run in runs}
    text = restored.here("logs", "finished").stdout

    assert status(restored) == {run.name: run.status for run in runs}
    assert {name: record["run"]["question"] for name, record in shown.items()} == {
        run.name: run.question for run in runs
    }
    assert [turn["executions"][-1]["status"] for turn in shown["finished"]["turns"]] == ["ok", "error", "final"]
    assert "ZeroDivisionError in line 1" in text
    assert "answer to finished one answer to drawn with a bucket 880" in text
    assert "forked from: finished after turn 1" in restored.here("logs", "forked").stdout
    assert json.loads(restored.here("ps", "--json").stdout) == []
    assert restored.asked == []


def test_notes_are_listed_with_the_run_that_wrote_them(restored: Restored) -> None:
    [note] = json.loads(restored.here("memory", "list", "--json").stdout)

    assert (note["key"], note["text"], note["run"]) == ("well", "The well holds water.", "finished")


def test_a_deleted_run_leaves_the_others_and_the_last_one_leaves_nothing(restored: Restored) -> None:
    names = [run.name for run in runs_in(restored.lane)]

    one = restored.here("rm", "--yes", "finished")
    fork = restored.go_on("resume", "forked")
    others = restored.here("rm", "--yes", *names[1:])

    assert [one.exit_code, fork.exit_code, others.exit_code] == [0, 0, 0], others.output
    assert restored.asked == ["forked two"]
    assert status(restored) == {}
    data = restored.shell.folder / "data"
    assert [path for kind in ("contexts", "snapshots") for path in data.glob(f"**/{kind}/*")] == []


def status(restored: Restored) -> dict[str, str]:
    """How the runs stand, by their names."""
    return {run["id"]: run["status"] for run in json.loads(restored.here("logs", "--json").stdout)}
