"""Files that are no text, told by their first bytes and not by their names, with what would turn each into text."""

from __future__ import annotations

from typing import NamedTuple

HEAD = 4096
"""Bytes of a file that tell its kind."""


class Kind(NamedTuple):
    """A kind of file that is no text."""

    name: str
    """What the file is, as in `it is a PDF file`."""
    advice: str
    """What to do to have its text."""


class BinaryFile(Exception):
    """The file is no text."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.name)
        self.kind = kind


PDF = Kind("a PDF file", "turn it into text first, as `pdftotext` does")
OFFICE = Kind("an office file", "save it as text first, as `pandoc` or `libreoffice --headless --convert-to txt` does")
E_BOOK = Kind("an e-book", "turn it into text first, as `pandoc` does")
COMPRESSED = Kind("a compressed file", "unpack it first, as `gunzip`, `bunzip2`, `unxz` or `unzstd` does")
ARCHIVE = Kind("an archive", "unpack it, as `unzip`, `tar` or `7z` does, and give the folder")
IMAGE = Kind("an image", "give the text in it, as `tesseract` reads it, or let code ask with llm_query(images=...)")
SOUND = Kind("a sound or a film", "give what is said in it as text, or let code ask with llm_query(audio=...)")
PROGRAM = Kind("an executable", "give its source, or what `strings` finds in it")
DATABASE = Kind("an SQLite database", "write it out as text first, as `sqlite3 FILE .dump` does")
TABLE = Kind("a binary table or array", "write it out as CSV or as JSON lines first")
FONT = Kind("a font", "leave it out")
UNKNOWN = Kind("binary", "turn it into text first, or give what `strings` finds in it")

_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OFFICE),  # Word, Excel and PowerPoint before 2007
    (b"\x1f\x8b", COMPRESSED),  # gzip
    (b"\x1f\x9d", COMPRESSED),  # compress
    (b"\xfd7zXZ\0", COMPRESSED),
    (b"\x28\xb5\x2f\xfd", COMPRESSED),  # Zstandard
    (b"\x04\x22\x4d\x18", COMPRESSED),  # LZ4
    (b"PK\x05\x06", ARCHIVE),  # a zip of nothing
    (b"PK\x07\x08", ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (b"Rar!\x1a\x07", ARCHIVE),
    (b"!<arch>\n", ARCHIVE),
    (b"MSCF\0\0\0\0", ARCHIVE),
    (b"\xed\xab\xee\xdb", ARCHIVE),  # RPM
    (b"\x89PNG\r\n\x1a\n", IMAGE),
    (b"\xff\xd8\xff", IMAGE),
    (b"GIF87a", IMAGE),
    (b"GIF89a", IMAGE),
    (b"II*\0", IMAGE),
    (b"MM\0*", IMAGE),
    (b"8BPS\0\x01", IMAGE),
    (b"\0\0\x01\0\x01\0", IMAGE),  # an icon
    (b"ID3\x02\0", SOUND),
    (b"ID3\x03\0", SOUND),
    (b"ID3\x04\0", SOUND),
    (b"OggS\0", SOUND),
    (b"fLaC\0", SOUND),
    (b"\x1a\x45\xdf\xa3", SOUND),  # Matroska, WebM
    (b"\x7fELF", PROGRAM),
    (b"\0asm", PROGRAM),
    (b"\xca\xfe\xba\xbe", PROGRAM),  # Java, and Mach-O for several processors
    (b"\xfe\xed\xfa\xce", PROGRAM),
    (b"\xfe\xed\xfa\xcf", PROGRAM),
    (b"\xce\xfa\xed\xfe", PROGRAM),
    (b"\xcf\xfa\xed\xfe", PROGRAM),
    (b"dex\n03", PROGRAM),
    (b"SQLite format 3\0", DATABASE),
    (b"PAR1", TABLE),  # Parquet
    (b"ARROW1\0\0", TABLE),
    (b"\x89HDF\r\n\x1a\n", TABLE),
    (b"\x93NUMPY", TABLE),
    (b"Obj\x01", TABLE),  # Avro
    (b"wOFF", FONT),
    (b"wOF2", FONT),
    (b"OTTO\0", FONT),
    (b"\0\x01\0\0\0", FONT),
)
"""Beginnings that no text has. Some are printable, but each of those goes on with what is not, as `_contains` asks."""
_PRINTABLE = frozenset({b"PAR1", b"wOFF", b"wOF2", b"GIF87a", b"GIF89a", b"!<arch>\n"})
_RIFF = {b"WEBP": IMAGE, b"WAVE": SOUND, b"AVI ": SOUND}
_ZIPPED = {b"application/epub+zip": E_BOOK, b"application/vnd.oasis": OFFICE}


def kind_of(head: bytes) -> Kind | None:
    """Return the kind of a file by its first `HEAD` bytes, or nothing if it may be a text."""
    if head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\0").startswith(b"%PDF-"):
        return PDF
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(head)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature) and (signature not in _PRINTABLE or _has_controls(head)):
            return kind
    if head[:4] == b"RIFF" and _has_controls(head):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp" and head[:3] == b"\0\0\0":
        return IMAGE if head[8:12] in (b"heic", b"heix", b"mif1", b"avif") else SOUND
    if head[257:262] == b"ustar":
        return ARCHIVE
    if head[:3] == b"BZh" and head[4:10] == b"1AY&SY":
        return COMPRESSED
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return IMAGE
    if head[:2] == b"MZ" and b"\0\0\0" in head[:64]:
        return PROGRAM
    return None


def _kind_of_zip(head: bytes) -> Kind:
    """Tell an office file or a book from other zip files by the first member, whose name stands at byte 30."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if name == b"mimetype":
        return next((kind for form, kind in _ZIPPED.items() if form in head[:200]), ARCHIVE)
    if name in (b"[Content_Types].xml", b"_rels/.rels") or name.startswith((b"word/", b"xl/", b"ppt/", b"docProps/")):
        return OFFICE
    return ARCHIVE


_CONTROLS = bytes(sorted({*range(0x20), 0x7F} - set(b"\t\n\r\f\x1b")))


def _has_controls(data: bytes) -> bool:
    return len(data.translate(None, _CONTROLS)) < len(data)


def looks_binary(sample: bytes) -> bool:
    """Tell whether a sample that is no UTF-8 has more control characters than a text of any 8-bit encoding."""
    return (len(sample) - len(sample.translate(None, _CONTROLS))) * 10 > len(sample)
