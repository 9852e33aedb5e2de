"""A context is read once, hashed once and written once, and not written where the disk can share it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1 << 20
LINE = "2026-01-01 00:00:00 INFO a line of a log, naïve 日本語 🦜\n"
BESIDE = 256 << 10
"""Bytes that are read or written besides: pieces that the encoding is judged by, the index, modules."""

TAKE = """
import sys
from pathlib import Path
from rlm_graph.context import ContextStore
from rlm_graph.settings import ContextSettings

def passed():
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])

store = ContextStore(Path(sys.argv[1]), ContextSettings(max_memory_bytes=int(sys.argv[2])))
given = Path(sys.argv[3]) if len(sys.argv) > 3 else sys.stdin.buffer
store.take(b"naive \\xff, so that what judges encodings is loaded")
before = passed()
ref = store.take(given)
after = passed()
print(ref.sha256, ref.bytes, *(now - then for now, then in zip(after, before)))
"""


def passed(store: Path, path: Path, *, piped: bool = False, memory: int = 1 << 40) -> tuple[str, int, int, int]:
    """Take a file in, in a process of its own: its hash, its size as it is stored, bytes read, bytes written."""
    command = [sys.executable, "-c", TAKE, store, str(memory), *([] if piped else [path])]
    with path.open("rb") as file:
        done = subprocess.run(command, cwd=ROOT, stdin=file, stdout=subprocess.PIPE, check=True, text=True)
    name, *figures = done.stdout.split()
    size, read, written = map(int, figures)
    return name, size, read, written


@pytest.fixture(params=["ascii", "mixed"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "large.txt"
    path.write_bytes((LINE.encode() if request.param == "mixed" else b"a line that says little\n") * 800_000)
    return path


@pytest.mark.parametrize("piped", [False, True], ids=["a file", "a stream"])
def test_a_context_is_read_once_and_written_once(large: Path, tmp_path: Path, piped: bool) -> None:
    size = large.stat().st_size

    name, stored, read, written = passed(tmp_path / "store", large, piped=piped)

    assert stored == size
    assert size <= read < size + BESIDE
    assert size <= written < size + BESIDE
    assert (tmp_path / "store" / name / "text").read_bytes() == large.read_bytes()


def test_a_file_that_the_store_has_is_not_written_again(large: Path, tmp_path: Path) -> None:
    name, *_ = passed(tmp_path / "store", large)

    again, size, read, written = passed(tmp_path / "store", large)

    assert again == name
    assert 2 * size <= read < 2 * size + BESIDE  # the file, and what it is compared with
    assert written < BESIDE


@pytest.mark.parametrize("place", ["beginning", "middle", "end", "kind", "encoding"])
def test_a_file_that_is_nearly_one_that_the_store_has_is_stored_as_it_is(
    store: ContextStore, large: Path, tmp_path: Path, place: str
) -> None:
    content = large.read_bytes()
    first = store.take(large)
    at = {"beginning": 0, "middle": len(content) // 2, "end": len(content) - 1}.get(place)
    other = tmp_path / "other.txt"
    if at is not None:
        other.write_bytes(content[:at] + b"#" + content[at + 1 :])
    else:
        other.write_bytes(content if place == "kind" else content[:-1] + b"\xff")

    second = store.combine([other, "text"] if place == "kind" else [other])

    empty = ContextStore(tmp_path / "another store")
    expected = empty.load(empty.take(other))
    assert store.load(second) == ({"other.txt": expected, "text": "text"} if place == "kind" else expected)
    assert second.sha256 != first.sha256
    assert store.load(first) == content.decode()


def test_what_a_text_takes_in_memory_is_found_without_reading_it_again(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_text("naïve\n" * 2_000_000, encoding="utf-8")
    size = (tmp_path / "large.txt").stat().st_size

    _, _, read, _ = passed(tmp_path / "store", tmp_path / "large.txt", memory=12_000_000)

    assert size <= read < size + BESIDE


def test_the_small_files_of_a_folder_are_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.txt").write_text(LINE * 500, encoding="utf-8")
    size = 200 * 500 * len(LINE.encode())

    command = [sys.executable, "-c", TAKE, tmp_path / "store", str(1 << 40), folder]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.split()

    assert size <= int(told[2]) < size + BESIDE
    assert size <= int(told[3]) < size + BESIDE


RUN = """
import sys
from pathlib import Path
from rlm_graph import AgentOptions, ContextStore, create_rlm_agent
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

def passed():
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])

folder = Path(sys.argv[1])
script = [repl("print(len(ctx))"), repl("FINAL(len(context))")] * 2
agent = create_rlm_agent(ScriptedModel(script), options=AgentOptions(contexts=ContextStore(folder)))
agent.invoke({"question": "How long is it?", "context": "short"})
before = passed()
answer = agent.invoke({"question": "How long is it?", "context": Path(sys.argv[2])})["answer"]
after = passed()
print(answer.value, *(now - then for now, then in zip(after, before)))
"""


@pytest.mark.confinement
def test_the_host_reads_and_writes_a_context_once_in_a_whole_run(large: Path, tmp_path: Path) -> None:
    """The worker, a process of its own, reads what code looks at."""
    command = [sys.executable, "-c", RUN, tmp_path / "store", large]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.split()

    size, chars = large.stat().st_size, len(large.read_text(encoding="utf-8"))
    assert int(told[0]) == chars
    assert size <= int(told[1]) < size + 4 * BESIDE
    assert size <= int(told[2]) < size + 4 * BESIDE


@pytest.fixture(params=["mkfs.btrfs", "mkfs.xfs"])
def sharing_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk whose files may share their blocks."""
    make = shutil.which(request.param)
    if make is None:
        pytest.skip(f"{request.param} is not installed")
    image, folder = tmp_path / "disk.image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(400 * MEGABYTE)
    subprocess.run([make, "-q", image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True).returncode != 0:
        pytest.skip("cannot mount a file: needs root and the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_where_files_can_share_blocks_nothing_is_copied_and_a_later_change_changes_nothing(sharing_disk: Path) -> None:
    path = sharing_disk / "large.txt"
    path.write_bytes(LINE.encode() * 300_000)
    content = path.read_bytes()

    name, stored, read, written = passed(sharing_disk / "store", path)
    with path.open("r+b") as file:
        file.write(b"changed in place")

    assert (stored, (sharing_disk / "store" / name / "text").read_bytes()) == (len(content), content)
    assert len(content) <= read < len(content) + BESIDE
    assert written < BESIDE
    store = ContextStore(sharing_disk / "store")
    assert store.take(content.decode()).sha256 == name


def test_a_shared_file_that_is_no_utf8_is_written_anew(sharing_disk: Path) -> None:
    path = sharing_disk / "large.txt"
    path.write_bytes(LINE.encode() * 100_000 + b"\xff")

    store = ContextStore(sharing_disk / "store")

    assert store.load(store.take([path, "and a text"])) == {
        "large.txt": LINE * 100_000 + "\ufffd",
        "text": "and a text",
    }
    assert os.listdir(sharing_disk / "store") == list(store.all())
