"""All of a context is in the store or nothing is, and taking it in needs little memory."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError, StorageError

Entries = Callable[[], list[str]]

ROOT = Path(__file__).resolve().parents[2]


def child(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start Python on a program that has the package."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize(
    "empty", ["", [], {}, [""], {"a": ""}, ()], ids=["text", "list", "dict", "empty texts", "empty values", "tuple"]
)
def test_nothing_is_no_context(store: ContextStore, entries: Entries, empty: object) -> None:
    with pytest.raises(InputError, match=r"the context is empty: the .* holds no text; give a text"):
        store.take(empty)

    assert entries() == []


def test_an_error_half_way_leaves_nothing(store: ContextStore, tmp_path: Path, entries: Entries) -> None:
    (tmp_path / "a.txt").write_text("a")

    with pytest.raises(InputError, match=r"gone\.txt does not exist; check the path"):
        store.combine([tmp_path / "a.txt", tmp_path / "gone.txt"])

    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(InputError, match=r"the stream cannot be read: .*Input/output error; give a file"):
        store.take(Broken())
    assert entries() == []


STORE_AT_ONCE = """
import sys
from pathlib import Path
from rlm_graph.context import ContextStore
store = ContextStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(*{store.take("the same text " * 100_000).sha256 for _ in range(10)})
"""


def test_two_processes_may_store_the_same_content_at_once(
    store: ContextStore, tmp_path: Path, entries: Entries
) -> None:
    both = [child(STORE_AT_ONCE, tmp_path / "store") for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    names = [process.communicate(timeout=60)[0].split() for process in both]

    assert names[0] == names[1] == entries()
    assert store.load(store.take("the same text " * 100_000)) == "the same text " * 100_000


KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from rlm_graph.context import ContextStore

class Stream:
    blocks = 3
    def read(self, size):
        if not self.blocks:
            os.kill(os.getpid(), signal.SIGKILL)
        self.blocks -= 1
        return b"a" * size

ContextStore(Path(sys.argv[1])).take(Stream())
"""


def test_a_killed_process_leaves_nothing_under_a_name_and_its_rest_goes_after_a_day(
    store: ContextStore, tmp_path: Path, entries: Entries
) -> None:
    with child(KILLED_HALF_WAY, tmp_path / "store") as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    (left,) = entries()

    assert list(store.all()) == []
    ref = store.take("text")
    assert entries() == sorted([left, ref.sha256])

    yesterday = (tmp_path / "store" / left).stat().st_mtime - 25 * 60 * 60
    for path in (tmp_path / "store" / left, *(tmp_path / "store" / left).rglob("*")):
        os.utime(path, (yesterday, yesterday))
    store.take("another text")
    assert left not in entries()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounting.returncode != 0:
        pytest.skip("cannot mount a tmpfs: needs root and the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("size", [1_040_000, 3_000_000], ids=["for the index", "for the text"])
def test_a_full_disk_is_a_storage_error_that_leaves_nothing(small_disk: Path, tmp_path: Path, size: int) -> None:
    store = ContextStore(small_disk)
    kept = store.take("kept")
    path = tmp_path / "large.txt"
    path.write_bytes(b"a" * size)
    texts = [str(number) for number in range(size // 20)]

    for given in (path, path.read_text(), path.open("rb"), texts):
        with pytest.raises(StorageError, match="No space left on device; free some space there or set RLM_DATA_DIR"):
            store.take(given)
        if hasattr(given, "close"):
            given.close()

    assert os.listdir(small_disk) == [kept.sha256]


LIMITED = """
import resource, sys
from pathlib import Path
from rlm_graph.context import ContextStore
from rlm_graph.errors import StorageError

resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
try:
    ContextStore(Path(sys.argv[1])).take("a" * 1_500_001)
except StorageError as error:
    print(error)
"""


def test_a_file_that_is_cut_off_is_not_taken_for_a_whole_one(tmp_path: Path, entries: Entries) -> None:
    with child(LIMITED, tmp_path / "store") as process:
        said, _ = process.communicate(timeout=60)

    assert "File too large; free some space there" in said
    assert entries() == []


def test_a_store_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StorageError, match=r"cannot be stored in .*Not a directory"):
        ContextStore(tmp_path / "file" / "store").take("text")


TAKE = """
import resource, sys
from pathlib import Path
from rlm_graph.context import ContextStore
store = ContextStore(Path(sys.argv[1]))
given = sys.argv[3] * int(sys.argv[4]) if sys.argv[2] == "text" else Path(sys.argv[3])
store.take("warm up")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ref = store.take(given)
print(ref.chars, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("given", ["file", "text"])
def test_200_mb_are_taken_in_20_mb_of_memory(tmp_path: Path, given: str) -> None:
    line, lines = "A line of a log, naïve but long.\n", 6_000_000
    arguments: list[str | Path] = ["text", line, str(lines)]
    if given == "file":
        arguments = ["file", tmp_path / "large.txt"]
        with (tmp_path / "large.txt").open("w", encoding="utf-8") as file:
            for _ in range(100):
                file.write(line * (lines // 100))

    with child(TAKE, tmp_path / "store", *arguments) as process:
        chars, kilobytes = map(int, process.communicate(timeout=100)[0].split())

    assert chars == len(line) * lines
    assert kilobytes < 20_000
