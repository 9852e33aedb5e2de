"""Readings of clocks: few, of a form that is checked, and put together without a gap."""

from __future__ import annotations

from typing import Any

import pytest

from rlm_graph.executors.sandbox.readings import checked_readings, whole_streams
from rlm_graph.executors.sandbox.worker.lanes import Lane


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"": [1]},
        {"0 time": [1]},
        {"0 time 0 ": [1]},
        {"0 time -1": [1]},
        {"0 time 123456": [1]},
        {"x time 0": [1]},
        {"0 sleep 0": [1]},
        {"0" + ".1" * 31 + " time 0": [1]},
        {1: [1]},
        {"0 time 0": (1,)},
        {"0 time 0": []},
        {"0 time 0": ["1"]},
        {"0 time 0": [1 << 63]},
        {"0 time 0": [1, 2], "0 time 2": [3, 4]},
    ],
)
def test_what_is_no_reading_is_refused(told: Any) -> None:
    with pytest.raises(ValueError, match=r"read|clock|time"):
        checked_readings(told, at_most=3)


def test_readings_are_taken_as_they_are() -> None:
    told = {"0 time 0": [1, -(1 << 63)], "0.2.1 perf_counter 12345": [(1 << 63) - 1]}

    assert checked_readings(told, at_most=3) is told


def test_a_lane_has_a_name_that_is_taken_however_deep_it_lies() -> None:
    lane = Lane("0", None)
    for _ in range(100):
        for _ in range(12):
            below = lane.start()
        lane = below
        assert checked_readings({f"{lane.name} time 0": [1]})


def test_a_stream_is_put_together_as_far_as_nothing_of_it_is_missing() -> None:
    pieces = [{"0 time 3": [3, 4], "0 monotonic 1": [1]}, {"0 time 0": [0, 1]}, {"0 time 1": [1, 2], "0 time 6": [6]}]

    assert whole_streams(*pieces) == {"0 time 0": [0, 1, 2, 3, 4]}
