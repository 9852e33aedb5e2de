"""What a container has used, read from the files that kernels keep of a control group. The files have the form
in which its documentation shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlm_graph.executors.sandbox.supervisor.metering import Used, used_by_container, used_by_process

V2 = {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
    "cpu.stat": "usage_usec 1734093\nuser_usec 1480112\nsystem_usec 253981\nnr_periods 61\nnr_throttled 9\n"
    "throttled_usec 602114\nnr_bursts 0\nburst_usec 0\n",
    "memory.current": "9711616\n",
    "memory.peak": "118358016\n",
    "io.stat": "259:0 rbytes=1134592 wbytes=8192 rios=46 wios=2 dbytes=0 dios=0\n"
    "8:16 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n253:0\n",
}
V1 = {
    "cpuacct/cpuacct.usage": "1734093214\n",
    "memory/memory.usage_in_bytes": "9711616\n",
    "memory/memory.max_usage_in_bytes": "118358016\n",
    "blkio/blkio.throttle.io_service_bytes": "259:0 Read 1134592\n259:0 Write 8192\n259:0 Sync 1142784\n"
    "259:0 Async 0\n259:0 Discard 0\n259:0 Total 1142784\n8:16 Read 4096\n8:16 Write 0\n8:16 Total 4096\n"
    "Total 1146880\n",
}
EXPECTED = Used(cpu_s=1.734093, peak_memory_bytes=118358016, read_bytes=1138688, write_bytes=8192)


def used(folder: Path, files: dict[str, str]) -> Used | None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return used_by_container(str(folder))


def test_the_second_version_of_control_groups_is_read(tmp_path: Path) -> None:
    assert used(tmp_path, V2) == EXPECTED


def test_the_first_version_of_control_groups_is_read(tmp_path: Path) -> None:
    found = used(tmp_path, V1)

    assert found is not None
    assert found._replace(cpu_s=round(found.cpu_s, 6)) == EXPECTED


def test_a_first_version_that_counts_processors_together_with_shares_is_read(tmp_path: Path) -> None:
    files = {name.replace("cpuacct/", "cpu,cpuacct/"): text for name, text in V1.items()}

    found = used(tmp_path, files)

    assert found is not None
    assert round(found.cpu_s, 6) == EXPECTED.cpu_s


def test_a_kernel_that_keeps_no_peak_tells_what_is_held_now(tmp_path: Path) -> None:
    found = used(tmp_path, {name: text for name, text in V2.items() if name != "memory.peak"})

    assert found == EXPECTED._replace(peak_memory_bytes=9711616)


@pytest.mark.parametrize(
    ("files", "missing"), [(V2, "io.stat"), (V1, "blkio/blkio.throttle.io_service_bytes")], ids=["v2", "v1"]
)
def test_what_no_controller_counts_is_not_told_as_none_used(
    tmp_path: Path, files: dict[str, str], missing: str
) -> None:
    found = used(tmp_path, {name: text for name, text in files.items() if name != missing})

    assert found is not None
    assert (found.read_bytes, found.write_bytes) == (None, None)


def test_a_container_that_has_read_nothing_says_so(tmp_path: Path) -> None:
    found = used(tmp_path, {**V2, "io.stat": ""})

    assert found is not None
    assert (found.read_bytes, found.write_bytes) == (0, 0)


@pytest.mark.parametrize(
    "files",
    [{}, {"cgroup.controllers": ""}, {**V2, "cpu.stat": ""}, {name: V1[name] for name in V1 if "cpuacct" not in name}],
    ids=["nothing", "no controllers", "no processor", "no processor in v1"],
)
def test_without_its_files_nothing_is_told(tmp_path: Path, files: dict[str, str]) -> None:
    assert used(tmp_path, files) is None


def test_a_cell_used_what_came_after_it_began_and_the_peak_is_that_of_all_time() -> None:
    before = Used(1.5, 1000, 4096, None)
    after = Used(1.75, 3000, 12288, 8192)

    assert after.since(before) == Used(0.25, 3000, 8192, None)
    assert before.since(after) == Used(0.0, 1000, 0, None), "a counter that began again is no debt"


def test_a_process_is_told_by_its_own_figures() -> None:
    used = used_by_process(os.getpid())

    assert used.cpu_s > 0
    assert used.peak_memory_bytes > 1 << 20
    assert used_by_process(2**22 + 1) == Used(0.0, 0)
