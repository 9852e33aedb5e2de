"""What cells read of clocks is recorded once, with the next answer, and found again by the cell."""

from __future__ import annotations

from rlm_graph.calls.clock_readings import ClockReadings, of_cell
from rlm_graph.executors.sandbox.readings import MAX_READINGS, checked_readings


def test_readings_are_recorded_once_with_the_answer_that_comes_next() -> None:
    readings = ClockReadings()
    readings.note(1, {"0 time 0": [5]})
    readings.note(2, {"0 time 0": [6]})

    assert readings.take() == {"1 0 time 0": [5], "2 0 time 0": [6]}
    assert readings.take() == {}


def test_what_is_told_again_is_recorded_only_as_far_as_it_is_new() -> None:
    readings = ClockReadings()
    readings.note(1, {"0 time 0": [5, 6]})
    readings.take()

    readings.note(1, {"0 time 0": [5, 6]})
    readings.note(1, {"0 time 0": [5, 6, 7, 8]})

    assert readings.take() == {"1 0 time 2": [7, 8]}


def test_a_call_that_a_cell_made_before_this_process_began_tells_of_what_came_later() -> None:
    readings = ClockReadings()
    readings.note(1, {"0 time 4": [9]})

    assert readings.take() == {"1 0 time 4": [9]}


def test_no_more_is_kept_of_a_cell_than_a_cell_tells_of() -> None:
    readings = ClockReadings()
    for lane in range(5):
        readings.note(1, {f"0.{lane} time 0": list(range(MAX_READINGS // 4 - 1))})
    readings.note(2, {"0 time 0": [1]})

    taken = readings.take()
    assert sum(len(values) for name, values in taken.items() if name.startswith("1 ")) == MAX_READINGS
    assert taken["2 0 time 0"] == [1]


def test_a_cell_is_given_back_what_it_has_read_and_no_other_has() -> None:
    recorded = [{"1 0 time 1": [6], "11 0 time 0": [8]}, {"1 0 time 0": [5]}, {"2 0 time 0": [7]}]

    assert of_cell(1, recorded) == {"0 time 0": [5, 6]}


def test_a_cell_that_told_other_things_each_time_is_given_back_no_more_than_it_may_be_shown() -> None:
    recorded = [{"1 0 time 1": list(range(6_000))}, {"1 0 time 0": [5], "1 0 monotonic 0": list(range(9_000))}]

    shown = of_cell(1, recorded)

    assert sum(map(len, shown.values())) == MAX_READINGS
    assert checked_readings(shown) == shown
