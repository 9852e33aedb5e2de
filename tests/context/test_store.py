"""What the store promises: equal content has one name, all of it is there or nothing, and little memory is used."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError, StorageError
from rlm_graph.settings import ContextSettings
from rlm_graph.state import ContextRef

Entries = Callable[[], list[str]]

ROOT = Path(__file__).resolve().parents[2]


def child(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start Python on a program that has the package."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


# --- The stored form -----------------------------------------------------------------------------------------------


def test_nothing_is_touched_before_the_first_use(tmp_path: Path) -> None:
    store = ContextStore(tmp_path / "store")

    assert list(store.all()) == []
    assert not (tmp_path / "store").exists()


def test_the_stored_form_is_the_texts_and_an_index_and_its_name_is_their_hash(store: ContextStore) -> None:
    ref = store.take({"a": "one", "b": "zwölf", "c": ""})

    folder = store.folder(ref)
    text, index = (folder / "text").read_bytes(), (folder / "index.json").read_bytes()
    assert sorted(os.listdir(folder)) == ["index.json", "text"]
    assert text == "onezwölf".encode()
    assert json.loads(index) == {
        "kind": "dict",
        "parts": [
            {"name": "a", "start": 0, "bytes": 3, "chars": 3, "ascii": True},
            {"name": "b", "start": 3, "bytes": 6, "chars": 5, "ascii": False},
            {"name": "c", "start": 9, "bytes": 0, "chars": 0, "ascii": True},
        ],
    }
    assert ref.sha256 == hashlib.sha256(text + index).hexdigest()
    assert ref == ContextRef(sha256=ref.sha256, kind="dict", chars=8, bytes=9, parts=3, longest=5)


def test_equal_content_has_an_equal_reference_whatever_it_was_called(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("same ☃")
    (tmp_path / "two").write_bytes("same ☃".encode("utf-16"))

    hashes = {store.take(given).sha256 for given in ["same ☃", tmp_path / "one", tmp_path / "two"]}

    assert list(store.all()) == list(hashes)


def test_the_same_texts_differ_as_one_text_as_a_list_and_as_a_dict(store: ContextStore) -> None:
    refs = [store.take(given) for given in ["ab", ["ab"], ["a", "b"], {"x": "ab"}, {"y": "ab"}]]

    assert len({ref.sha256 for ref in refs}) == 5
    assert [store.load(ref) for ref in refs] == ["ab", ["ab"], ["a", "b"], {"x": "ab"}, {"y": "ab"}]


def test_a_reference_is_returned_as_it_is(store: ContextStore) -> None:
    ref = store.take("text")

    assert store.take(ref) is ref


def test_what_is_forgotten_is_gone_and_may_be_forgotten_again(store: ContextStore, entries: Entries) -> None:
    kept, ref = store.take("kept"), store.take("text")

    store.forget(ref)
    store.forget(ref)

    assert not store.holds(ref)
    assert list(store.all()) == entries() == [kept.sha256]
    with pytest.raises(InputError, match="not on this machine; give the context again"):
        store.load(ref)


@pytest.mark.parametrize("name", ["../store", "..", "", "A" * 64, "a" * 64 + "\n"])
def test_a_reference_names_nothing_outside_the_store(store: ContextStore, tmp_path: Path, name: str) -> None:
    store.take("text")
    forged = ContextRef(sha256=name, kind="str", chars=1, bytes=1)

    for use in (store.folder, store.holds, store.load, store.forget, store.take):
        with pytest.raises(InputError, match="no reference to a context"):
            use(forged)
    assert len(list(store.all())) == 1


def test_a_damaged_context_is_not_held_and_is_replaced_when_taken_again(store: ContextStore, entries: Entries) -> None:
    ref = store.take("a text that is longer")
    os.truncate(store.folder(ref) / "text", 3)
    assert not store.holds(ref)

    store.take("a text that is longer")

    assert store.load(ref) == "a text that is longer"
    assert entries() == [ref.sha256]


def test_an_unreadable_index_is_a_storage_error(store: ContextStore) -> None:
    ref = store.take("text")
    (store.folder(ref) / "index.json").write_text("{")

    with pytest.raises(StorageError, match="is damaged"):
        store.load(ref)


# --- Taking it again -----------------------------------------------------------------------------------------------


def test_a_file_is_taken_again_where_the_store_lacks_it(store: ContextStore, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("all of it")
    ref = store.take(path)
    store.forget(ref)

    assert store.restore(ref) is ref
    assert store.load(ref) == "all of it"


@pytest.mark.parametrize("name", ["line\nbreak", b"not \xff utf-8", "100% #1?"])
def test_a_file_of_any_name_is_taken_again(store: ContextStore, tmp_path: Path, name: str | bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_text("all of it")
    ref = store.take(path)
    store.forget(ref)

    assert store.take(ref) is ref
    assert ref.source.isprintable()


def test_several_files_and_folders_are_taken_again_from_anywhere(
    store: ContextStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("A")
    (tmp_path / "b.txt").write_text("B")
    monkeypatch.chdir(tmp_path)
    ref = store.combine([Path("docs"), Path("b.txt")])
    store.forget(ref)

    monkeypatch.chdir("/")
    store.restore(ref)

    assert store.load(ref) == {"docs/a.md": "A", "b.txt": "B"}


def test_a_file_that_changed_or_went_must_be_given_again(store: ContextStore, tmp_path: Path, entries: Entries) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("before")
    ref = store.take(path)
    store.forget(ref)

    path.write_text("after")
    with pytest.raises(InputError, match="its content has changed since; give the context again"):
        store.restore(ref)
    path.unlink()
    with pytest.raises(InputError, match="does not exist; check the path; give the context again"):
        store.restore(ref)

    assert entries() == []


def test_a_text_that_is_not_here_must_be_given_again(store: ContextStore) -> None:
    ref = store.take("text")
    store.forget(ref)

    with pytest.raises(InputError, match="came from no file or URL; give the context again"):
        store.take(ref)


# --- All or nothing ------------------------------------------------------------------------------------------------


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


def test_a_store_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StorageError, match=r"cannot be stored in .*Not a directory"):
        ContextStore(tmp_path / "file" / "store").take("text")


# --- Memory --------------------------------------------------------------------------------------------------------

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


def test_what_memory_cannot_hold_is_refused_with_figures(
    small_store: ContextStore, tmp_path: Path, entries: Entries
) -> None:
    (tmp_path / "vast").touch()
    os.truncate(tmp_path / "vast", 1 << 40)

    for given in ("a" * 1_000_001, "🦜" * 250_001, "語" * 500_001, ["é" * 600_000] * 2, tmp_path / "vast"):
        with pytest.raises(InputError, match=r"too large: it would take .* [MG]B of memory and 1\.00 MB are available"):
            small_store.take(given)

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


def test_a_smaller_machine_can_tell_that_a_context_does_not_fit(store: ContextStore, tmp_path: Path) -> None:
    ref = store.take(["🦜" * 1000, "é" * 1000, "a" * 1000])

    def fits(limit: int) -> bool:
        return ContextStore(tmp_path / "store", ContextSettings(max_memory_bytes=limit)).fits(ref)

    assert store.fits(ref)
    assert fits(6000)
    assert not fits(5999)
