"""A context that memory cannot hold is refused, and a container's limits count as memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_graph.context import ContextStore
from rlm_graph.context.memory import available, width, width_of_utf8
from rlm_graph.errors import InputError
from rlm_graph.settings import ContextSettings

Entries = Callable[[], list[str]]

GB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A `proc` that says 16 GB are available, and an empty `cgroup`."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {32 << 20} kB\nMemAvailable: {16 << 20} kB\n")
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def put(machine: Path, group: str, files: dict[str, object]) -> None:
    folder = machine / "cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def reading(machine: Path) -> int:
    return available(machine / "proc", machine / "cgroup")


def test_this_machine_has_some_memory() -> None:
    assert 10_000_000 < available() < 1 << 50


def test_without_limits_it_is_what_the_system_has(machine: Path) -> None:
    assert reading(machine) == 16 * GB
    (machine / "proc" / "self" / "cgroup").write_text("0::/job\n")
    put(machine, "job", {"memory.max": "max", "memory.current": GB})
    assert reading(machine) == 16 * GB


def test_without_proc_it_is_the_whole_machine(tmp_path: Path) -> None:
    assert available(tmp_path, tmp_path) >= available()


def test_a_cgroup_leaves_its_limit_less_its_use_save_for_cached_files(machine: Path) -> None:
    (machine / "proc" / "self" / "cgroup").write_text("0::/pod/job\n")
    put(
        machine,
        "pod/job",
        {"memory.max": 4 * GB, "memory.current": 3 * GB, "memory.stat": f"anon 5\ninactive_file {GB}"},
    )

    assert reading(machine) == 2 * GB


def test_the_tightest_group_above_counts(machine: Path) -> None:
    (machine / "proc" / "self" / "cgroup").write_text("0::/pod/job\n")
    put(machine, "pod/job", {"memory.max": 4 * GB, "memory.current": 0})
    put(machine, "pod", {"memory.max": GB, "memory.current": 0})

    assert reading(machine) == GB


def test_the_older_cgroups_count_too(machine: Path) -> None:
    (machine / "proc" / "self" / "cgroup").write_text("5:cpu,cpuacct:/a\n4:memory:/job\n0::/\n")
    put(machine, "memory/job", {"memory.limit_in_bytes": 2 * GB, "memory.usage_in_bytes": GB})
    put(machine, "memory", {"memory.limit_in_bytes": (1 << 63) - 4096, "memory.usage_in_bytes": GB})

    assert reading(machine) == GB


def test_inside_a_container_the_limit_lies_at_the_root(machine: Path) -> None:
    (machine / "proc" / "self" / "cgroup").write_text("0::/../../outer/name\n")
    put(machine, "", {"memory.max": 3 * GB, "memory.current": 0})

    assert reading(machine) == 3 * GB


def test_a_group_that_is_over_its_limit_leaves_nothing(machine: Path) -> None:
    (machine / "proc" / "self" / "cgroup").write_text("0::/job\n")
    put(machine, "job", {"memory.max": GB, "memory.current": 2 * GB})

    assert reading(machine) == 0


def test_what_memory_cannot_hold_is_refused_with_figures(
    small_store: ContextStore, tmp_path: Path, entries: Entries
) -> None:
    (tmp_path / "vast").touch()
    os.truncate(tmp_path / "vast", 1 << 40)

    for context in ("a" * 1_000_001, "🦜" * 250_001, "語" * 500_001, ["é" * 600_000] * 2, tmp_path / "vast"):
        with pytest.raises(InputError, match=r"too large: it would take .* [MG]B of memory and 1\.00 MB are available"):
            small_store.take(context)

    assert entries() == []


def test_a_stream_without_an_end_is_refused_in_time(small_store: ContextStore, entries: Entries) -> None:
    class Endless:
        def read(self, size: int) -> bytes:
            return b"a" * size

    with pytest.raises(InputError, match="too large"):
        small_store.take(Endless())

    assert entries() == []


@pytest.mark.parametrize("text", ["a" * 1_000_000, "é" * 1_000_000, "語" * 500_000, "🦜" * 250_000])
def test_what_memory_just_holds_is_taken(small_store: ContextStore, text: str) -> None:
    ref = small_store.take(text)

    assert sys.getsizeof(text) == pytest.approx(1_000_000, rel=0.001)
    assert small_store.fits(ref)


def test_one_wide_character_does_not_widen_a_very_long_text(tmp_path: Path) -> None:
    store = ContextStore(tmp_path / "store", ContextSettings(max_memory_bytes=300_000_000))

    path = tmp_path / "docs" / "long.txt"
    path.parent.mkdir()
    with path.open("wb") as file:
        for _ in range(270):
            file.write(b"a" * 1_000_000)
        file.write("🦜".encode())

    ref = store.take(path)

    assert store.fits(ref)
    with pytest.raises(InputError, match=r"would take 1\.08 GB of memory and 300\.00 MB are available"):
        store.take(path.parent)  # in a dict it is one `str`


@given(text=st.text(max_size=10), times=st.integers(1, 50))
def test_what_a_character_takes_is_told_by_a_text_just_made_and_by_its_utf8(text: str, times: int) -> None:
    data = (text * times).encode("utf-8", "surrogatepass")
    widest = max(map(ord, text), default=0)

    expected = 1 if widest < 1 << 8 else 2 if widest < 1 << 16 else 4
    assert width(data.decode("utf-8", "surrogatepass")) == width_of_utf8(data) == expected


def test_a_smaller_machine_can_tell_that_a_context_does_not_fit(store: ContextStore, tmp_path: Path) -> None:
    ref = store.take(["🦜" + "a" * 2_999_999, "é" * 1000, "a" * 1000])

    def fits(limit: int) -> bool:
        return ContextStore(tmp_path / "store", ContextSettings(max_memory_bytes=limit)).fits(ref)

    assert store.fits(ref)
    assert fits(12_002_000)
    assert not fits(12_001_999)
