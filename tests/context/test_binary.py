"""A file that is no text is refused with what would turn it into text, and told apart in folders, by its bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError

MakeFolder = Callable[[Path, dict[str, str | bytes]], Path]


def zipped(*members: str, first: bytes = b"x") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member in members:
            archive.writestr(member, first)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    return file.getvalue()


def database(folder: Path) -> bytes:
    path = folder / "made.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    data = path.read_bytes()
    path.unlink()
    return data


FILES: dict[str, tuple[bytes, str, str]] = {
    "report.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "a PDF file", "`pdftotext`"),
    "plain.pdf": (b"\n%PDF-1.4\n1 0 obj\n", "a PDF file", "`pdftotext`"),
    "log.gz": (gzip.compress(b"2024-01-02 error 17\n" * 500), "a compressed file", "`gunzip`"),
    "log.bz2": (bz2.compress(b"2024-01-02 error 17\n"), "a compressed file", "`bunzip2`"),
    "log.xz": (lzma.compress(b"2024-01-02 error 17\n"), "a compressed file", "`unxz`"),
    "log.zst": (b"\x28\xb5\x2f\xfd\x24\x05abcde", "a compressed file", "`unzstd`"),
    "all.zip": (zipped("a.txt"), "an archive", "`unzip`"),
    "all.tar": (tarred(), "an archive", "`tar`"),
    "all.7z": (b"7z\xbc\xaf\x27\x1c\0\4", "an archive", "`7z`"),
    "letter.docx": (zipped("[Content_Types].xml"), "an office file", "`pandoc`"),
    "letter.odt": (
        zipped("mimetype", first=b"application/vnd.oasis.opendocument.text"), "an office file", "`pandoc`",
    ),
    "letter.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "an office file", "libreoffice"),
    "book.epub": (zipped("mimetype", first=b"application/epub+zip"), "an e-book", "`pandoc`"),
    "scan.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "an image", "llm_query(images=...)"),
    "scan.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image", "`tesseract`"),
    "scan.webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "an image", "`tesseract`"),
    "talk.wav": (b"RIFF\x24\0\0\0WAVEfmt ", "a sound or a film", "llm_query(audio=...)"),
    "talk.mp4": (b"\0\0\0\x20ftypisom\0\0\x02\0", "a sound or a film", "llm_query(audio=...)"),
    "program": (Path(sys.executable).read_bytes()[:10_000], "an executable", "`strings`"),
    "program.exe": (b"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0", "an executable", "`strings`"),
    "table.parquet": (b"PAR1\x15\x04\x15\x10\x15\x14", "a binary table or array", "CSV"),
    "array.npy": (b"\x93NUMPY\x01\0v\0{'descr': '<f8'}", "a binary table or array", "CSV"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("given", ["named", "bytes", "misnamed"])
def test_what_is_no_text_is_refused_with_the_way_on(store: ContextStore, tmp_path: Path, name: str, given: str) -> None:
    data, kind, advice = FILES[name]
    path = tmp_path / ("notes.txt" if given == "misnamed" else name)
    path.write_bytes(data)

    with pytest.raises(InputError, match=f"is {kind}, not text: ") as caught:
        store.take(data if given == "bytes" else path)

    assert advice in str(caught.value)
    assert list(store.all()) == []


def test_an_sqlite_database_is_refused(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(database(tmp_path))

    with pytest.raises(InputError, match=r"data is an SQLite database, not text: .* `sqlite3 FILE \.dump`"):
        store.take(tmp_path / "data")


def test_a_stream_that_is_no_text_is_refused(store: ContextStore) -> None:
    with pytest.raises(InputError, match="the stream is a compressed file, not text"):
        store.take(io.BytesIO(gzip.compress(b"text")))


@pytest.mark.parametrize(
    "text",
    [
        "PAR1 is a form of files",
        "BM, MZ, RIFF and GIF89a are others",
        "II*",
        "MZ\n",
        "wOFF",
        "ustar",
        "!<arch>\n",
        "PK",
    ],
)
def test_a_text_that_begins_like_one_is_a_text(store: ContextStore, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)

    assert store.load(store.take(tmp_path / "a.txt")) == text


def test_a_pdf_that_is_told_about_is_a_text(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("It begins with %PDF-1.7")

    assert store.take(tmp_path / "a.txt").chars == 23


def test_in_folders_each_kind_is_left_out_and_counted(
    store: ContextStore, tmp_path: Path, make_folder: MakeFolder
) -> None:
    pdf, image = FILES["report.pdf"][0], FILES["scan.png"][0]
    folder = make_folder(
        tmp_path / "docs",
        {"a.txt": "A", **{f"{number}.pdf": pdf for number in range(5)}, "looks-like.txt": image},
    )

    ref = store.take(folder)

    assert store.load(ref) == {"a.txt": "A"}
    assert ref.notes == (
        "0.pdf, 1.pdf, 2.pdf and 2 more: left out because it is a PDF file",
        "looks-like.txt: left out because it is an image",
    )
