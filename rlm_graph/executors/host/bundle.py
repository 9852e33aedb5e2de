"""What runs inside a sandbox, as one file for any place with a Python: `python worker-<version>.pyz supervise …`."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import struct
import zipfile
from pathlib import Path

PACKAGE = "rlm_graph/executors/sandbox"
START = b"""import sys

if sys.version_info < (3, 9):
    sys.exit("it has Python " + sys.version.split()[0])

from rlm_graph.executors.sandbox.__main__ import main

main()
"""

_UNCHECKED = 0b01
_DATE = (1980, 1, 1, 0, 0, 0)


@functools.cache
def version() -> str:
    """Return the digest of the sources, 16 hex digits: two owners with equal ones can share a REPL."""
    digest = hashlib.sha256()
    for name, source in sources().items():
        digest.update(f"{name}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()[:16]


@functools.cache
def bundle() -> bytes:
    """Return a zip archive that Python runs.

    It holds the sources, and beside them what this interpreter compiles them to; another version finds that it cannot
    use those and compiles for itself.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, source in {**sources(), "__main__.py": START}.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), source)
            archive.writestr(zipfile.ZipInfo(f"{name}c", _DATE), _compiled(name, source))
    return packed.getvalue()


def file_name(of: str | None = None) -> str:
    """Return the name of the bundle of a version, by default this one; it changes with the sources."""
    return f"worker-{of or version()}.pyz"


@functools.cache
def sources() -> dict[str, bytes]:
    """Return the sources by their path in the archive."""
    folder = Path(__file__).parent.with_name("sandbox")
    parents = {"rlm_graph/__init__.py": b"", "rlm_graph/executors/__init__.py": b""}
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.py"))}
    return parents | {f"{PACKAGE}/{name}": path.read_bytes() for name, path in found.items()}


def _compiled(name: str, source: bytes) -> bytes:
    """Return the bytecode file of a source, marked as one that is not compared with the source's date."""
    import marshal

    code = compile(source, name, "exec", dont_inherit=True)
    return (
        importlib.util.MAGIC_NUMBER
        + struct.pack("<I", _UNCHECKED)
        + importlib.util.source_hash(source)
        + marshal.dumps(code)
    )
