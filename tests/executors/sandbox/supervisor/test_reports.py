"""What a worker tells: checked and cut by its supervisor before a host hears of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlm_graph.executors.sandbox.frames import MAX_FRAME, MAX_VALUE
from rlm_graph.executors.sandbox.supervisor.cell_run import BadFrame
from rlm_graph.executors.sandbox.supervisor.reports import checked_reply, failed_reply, fitting_line
from rlm_graph.prompts.observing import MOST_LISTED

VARIABLE = {"name": "x", "type": "int", "size": None, "preview": "1"}
TOLD: dict[str, Any] = {
    "ev": "done", "status": "final", "stdout": "out", "stderr": "", "value": None, "error": None,
    "final": {"value": "answer", "exact": True, "via": "FINAL"},
}  # fmt: skip


@pytest.mark.parametrize(
    "variables",
    [
        None,
        "x",
        [5],
        [{**VARIABLE, "name": 5}],
        [{**VARIABLE, "size": -1}],
        [{**VARIABLE, "size": 1 << 63}],
        [{**VARIABLE, "size": True}],
        [{"name": "x"}],
        [VARIABLE] * (MOST_LISTED + 1),
    ],
    ids=range(9),
)
def test_variables_that_no_worker_lists_are_refused(variables: object) -> None:
    with pytest.raises(BadFrame):
        checked_reply({"op": "vars"}, {"variables": variables})


def test_variables_are_cut_to_what_a_host_keeps() -> None:
    told = checked_reply({"op": "vars"}, {"variables": [{**VARIABLE, "name": "n" * 10**6, "more": "m"}] * MOST_LISTED})

    assert len(told["variables"]) == MOST_LISTED
    assert set(told["variables"][0]) == set(VARIABLE)
    assert len(told["variables"][0]["name"]) == 200


@pytest.mark.parametrize("snapshot", [5, "é", "A" * 5], ids=range(3))
def test_a_snapshot_larger_than_was_said_is_refused(snapshot: object) -> None:
    with pytest.raises(BadFrame):
        checked_reply({"op": "snapshot", "max_bytes": 3}, {"snapshot": snapshot, "reason": None})


def test_a_job_that_came_to_nothing_is_no_error_where_the_run_can_go_on() -> None:
    assert failed_reply({"op": "vars"}, "gone") == {"variables": []}
    assert failed_reply({"op": "snapshot"}, "gone") == {"snapshot": None, "reason": "gone"}
    assert checked_reply({"op": "vars"}, {"error": "it raised"}) == {"variables": []}
    assert failed_reply({"op": "context"}, "gone") == {"error": "gone"}


def test_an_end_that_fits_is_told_as_it_is() -> None:
    assert json.loads(fitting_line(TOLD)) == TOLD


def test_output_that_leaves_no_room_for_the_answer_is_cut_and_the_answer_is_not() -> None:
    answer = "x" * (MAX_VALUE - 2)
    told = {**TOLD, "stdout": "\x01" * (1 << 20), "stderr": "\x01" * (1 << 20), "final": {"value": answer}}

    line = fitting_line(told)

    assert len(line) <= MAX_FRAME
    fitting = json.loads(line)
    assert fitting["final"]["value"] == answer
    assert "characters cut" in fitting["stdout"]


def test_an_end_that_no_frame_can_tell_is_told_as_an_error() -> None:
    fitting = json.loads(fitting_line({**TOLD, "final": {"value": "x" * MAX_FRAME}}))

    assert (fitting["status"], fitting["final"], fitting["stdout"]) == ("error", None, "out")
    assert "longer than" in fitting["error"]["message"]
