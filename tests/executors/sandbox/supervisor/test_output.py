"""What is kept of a stream."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_graph.executors.sandbox.supervisor.output import BoundedOutput

# By count and not by the clock: a busy machine must not fail a test.
steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = st.text(st.sampled_from("a\né漢😀\ud800"), max_size=200)


@steady
@given(TEXT, st.integers(1, 300), st.integers(1, 50))
def test_head_and_tail_are_kept_within_the_limit_cut_between_characters(text: str, limit: int, size: int) -> None:
    data = text.encode("utf-8", "surrogatepass")
    output = BoundedOutput(limit)

    for at in range(0, len(data), size):
        output.write(data[at : at + size])
    kept, chars = output.take()

    assert chars == len(text)
    if len(data) <= limit // 2 * 2:
        assert kept == text
    elif "[..." in kept:
        head, _, rest = kept.partition("\n[... ")
        cut, _, tail = rest.partition(" characters cut ...]\n")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head) + int(cut.replace(",", "")) + len(tail) == len(text)
        assert len((head + tail).encode("utf-8", "surrogatepass")) <= max(limit, 2)


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    output = BoundedOutput(100)
    output.write(b"a\xffb\xc3")

    assert output.take() == ("a\ufffdb\ufffd", 4)


def test_each_cell_begins_anew() -> None:
    output = BoundedOutput(100)
    output.write(b"first")
    output.take()

    assert output.take() == ("", 0)
