"""What is done beside the reading is done in order, and its failures are not lost."""

from __future__ import annotations

import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_graph.context.lanes import BESIDE_BYTES, Digest, Lane

STEPS = st.lists(st.one_of(st.sampled_from(["mark", "rewind"]), st.sampled_from([1, 1000, BESIDE_BYTES])), max_size=12)


@given(steps=STEPS)
def test_a_digest_is_that_of_what_was_added_and_not_taken_back(steps: list[str | int]) -> None:
    digest, added, marked = Digest(), b"", b""

    for number, step in enumerate(steps):
        if step == "mark":
            digest.mark()
            marked = added
        elif step == "rewind":
            digest.rewind()
            added = marked
        else:
            data = bytes([number]) * int(step)
            digest.add(data)
            added += data
    found = digest.hexdigest()
    digest.close()

    assert found == hashlib.sha256(added).hexdigest()


def fail() -> None:
    raise OSError("the disk is gone")


def test_what_a_call_raises_is_raised_by_whoever_waits_for_it() -> None:
    lane = Lane(1)
    lane.put(fail)
    with pytest.raises(OSError, match="the disk is gone"):
        lane.settle()

    lane.put(fail)
    with pytest.raises(OSError, match="the disk is gone"):
        lane.put(print)

    lane.close()


def test_calls_wait_for_their_turn_and_no_more_of_them_than_were_allowed() -> None:
    lane, gate, made = Lane(2), threading.Event(), []
    lane.put(gate.wait)
    lane.put(made.append, 1)
    assert not lane.is_idle

    threading.Thread(target=gate.set).start()
    lane.put(made.append, 2)  # had to wait for the gate
    assert gate.is_set()
    lane.settle()

    assert made == [1, 2]
    assert lane.is_idle
    lane.close()
