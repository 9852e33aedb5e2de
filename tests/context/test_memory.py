"""How much memory there is: the system's, or what a container's limits leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_graph.context.memory import available

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
