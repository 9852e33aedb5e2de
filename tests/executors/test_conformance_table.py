"""The table of what each executor shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executors import conformance_table
from tests.executors.conformance_table import main, run

BEHAVIOURS = """
import pytest

def test_it_adds(): assert 1 + 1 == 2

@pytest.mark.xfail(reason="one thread", strict=True)
def test_it_has_threads(): assert {threads}

@pytest.mark.skipif(not {here}, reason="nothing to run it on")
def test_it_is_here(): pass
"""


def behaviours(folder: Path, *, threads: bool = False, here: bool = True) -> str:
    file = folder / "test_behaviours.py"
    file.write_text(BEHAVIOURS.format(threads=threads, here=here))
    return str(file)


def test_what_is_declared_or_cannot_run_here_is_told_and_is_no_failure(tmp_path: Path) -> None:
    results = run(behaviours(tmp_path, here=False), [])

    assert results.counts == {"passed": 1, "declared": 1, "not run": 1}
    assert results.declared == {"one thread": ["it has threads"]}
    assert results.not_run == {"nothing to run it on"}
    assert results.is_whole


def test_a_list_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name")

    assert not run(str(tmp_path / "test_broken.py"), []).is_whole


def test_what_is_declared_and_there_all_the_same_is_a_failure_and_ends_the_program_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(conformance_table.LISTS, "local", behaviours(tmp_path, threads=True))
    monkeypatch.setattr("sys.argv", ["conformance_table", "--executor", "local"])

    assert main() == 1
    told = capsys.readouterr().out
    assert "local                          3         2         1         0         0" in told
    assert "local FAILED: it has threads" in told
